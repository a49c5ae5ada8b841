// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"net/netip"
	"testing"

	"ktrace/testdata/lab"
)

// service is the address that the pod asks. The node translates it to the server's.
var service = netip.AddrFrom4([4]byte{10, 96, 7, 7})

// network is a pod behind a node, and a server beyond the node's uplink.
type network struct {
	cluster *lab.Cluster
	pod     *lab.Pod
}

func newNetwork(t *testing.T) *network {
	c := lab.NewCluster(t)
	n := &network{cluster: c, pod: c.AddPod("client")}
	c.Node.Run("iptables", "-t", "nat", "-A", "PREROUTING", "-d", service.String(), "-j", "DNAT", "--to-destination", lab.ServerAddr)
	// Ports are used again at once: a round makes more connections than there are ports.
	n.pod.Sysctl("net/ipv4/tcp_tw_reuse", "1")
	n.pod.Sysctl("net/ipv4/ip_local_port_range", "1024 65000")
	c.Node.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1")
	return n
}
