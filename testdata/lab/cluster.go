// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses of the cluster. Services have none of their own: only translation makes them reachable.
const (
	ServerAddr  = "10.9.0.2"
	ServerAddr6 = "fd00:9::2"
	UplinkAddr  = "10.9.0.1"
	UplinkAddr6 = "fd00:9::1"
	ServiceDNS  = "10.96.0.10" // as kubeadm gives it
	ServiceDNS6 = "fd00:96::a"
)

// Cluster is pods behind a routing node, and a server beyond the node's uplink:
//
//	pod eth0 ── veth<pod> node uplink ── eth0 server
//
// The server stands for the rest of the world: it is the node's default gateway and forwards nothing.
type Cluster struct {
	*Net
	Node   *NS
	Server *NS
	pods   int
}

// NewCluster makes the node and the server; AddPod the pods.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	return NewClusterAt(t, 0)
}

// NewClusterAt is NewCluster with another network between node and server: UplinkAt and ServerAt have their addresses. A
// test that watches the node, and so what any node with its addresses sends, needs one that no other test has.
func NewClusterAt(t testing.TB, network int) *Cluster {
	t.Helper()
	n := New(t)
	c := &Cluster{Net: n, Node: n.Namespace("node"), Server: n.Namespace("server")}
	c.Node.Sysctl("net/ipv4/ip_forward", "1")
	c.Node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	uplink, uplink6 := UplinkAt(network)
	server, server6 := ServerAt(network)
	n.Veth(End{c.Node, "uplink", []string{uplink + "/24", uplink6 + "/64"}},
		End{c.Server, "eth0", []string{server + "/24", server6 + "/64"}})
	c.Node.IP("route add default via "+server, "route add default via "+server6)
	c.Server.IP("route add 10.128.0.0/9 via "+uplink, "route add fd00:244::/32 via "+uplink6)
	return c
}

// UplinkAt is where the node is in one of the networks between nodes and servers, 0 to 255.
func UplinkAt(network int) (v4, v6 string) { return between(network, 1) }

// ServerAt is where the server is there.
func ServerAt(network int) (v4, v6 string) { return between(network, 2) }

func between(network, host int) (v4, v6 string) {
	if network == 0 {
		return fmt.Sprintf("10.9.0.%d", host), fmt.Sprintf("fd00:9::%d", host)
	}
	return fmt.Sprintf("10.9.%d.%d", network, host), fmt.Sprintf("fd00:9:%x::%d", network, host)
}

// Pod is a namespace behind the node.
type Pod struct {
	*NS
	Addr, Addr6 string
	Veth        string // its device on the node
}

// AddPod makes a pod with addresses of its own in 10.128.0.0/9 and fd00:244::/32 and a default route to the node. No
// other pod has them, in whichever test or process, so that an address selects packets of this pod alone.
func (c *Cluster) AddPod(name string) *Pod {
	c.t.Helper()
	return c.addPodAt(c.Node, name)
}

// podNumber counts the pods of all tests on the machine. A number comes again after 32,768 others: what ended with a pod may
// be answered for seconds, so an address that is free is not at once another pod's.
func podNumber(t testing.TB) uint32 {
	t.Helper()
	file, err := os.OpenFile("/run/ktrace-lab-pods", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var number [4]byte
	_, _ = file.ReadAt(number[:], 0) // none yet: 0
	next := binary.NativeEndian.Uint32(number[:]) + 1
	if _, err := file.WriteAt(binary.NativeEndian.AppendUint32(nil, next), 0); err != nil {
		t.Fatal(err)
	}
	return next
}

func (c *Cluster) addPodAt(node *NS, name string) *Pod {
	c.t.Helper()
	c.pods++
	ns := c.Namespace(name)
	number := podNumber(c.t)
	net := fmt.Sprintf("10.%d.%d.", 128+number>>8%128, number%256)
	net6 := fmt.Sprintf("fd00:244:%x:%x::", number>>16, number&0xffff)
	p := &Pod{NS: ns, Addr: net + "2", Addr6: net6 + "2", Veth: fmt.Sprintf("veth%d", c.pods)}
	gateway, gateway6 := net+"1", net6+"1"
	c.Net.Veth(End{p.NS, "eth0", []string{p.Addr + "/24", p.Addr6 + "/64"}},
		End{node, p.Veth, []string{gateway + "/24", gateway6 + "/64"}})
	p.IP("route add default via "+gateway, "route add default via "+gateway6)
	return p
}
