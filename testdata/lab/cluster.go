package lab

import (
	"fmt"
	"testing"
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

// firstInode is the number of the first namespace; others have the lowest that is free (PROC_DYNAMIC_FIRST).
const firstInode = 0xf0000000

// Pod is a namespace behind the node.
type Pod struct {
	*NS
	Addr, Addr6 string
	Veth        string // its device on the node
}

// AddPod makes a pod with addresses of its own in 10.128.0.0/9 and fd00:244::/32 and a default route to the node. No
// other pod has them, in whichever test or process, so that an address selects packets of this pod alone: they are made of
// the number of its namespace, which the kernel gives to none else as long as it lives.
func (c *Cluster) AddPod(name string) *Pod {
	c.t.Helper()
	return c.addPodAt(c.Node, name)
}

func (c *Cluster) addPodAt(node *NS, name string) *Pod {
	c.t.Helper()
	c.pods++
	ns := c.Namespace(name)
	number := ns.Inode() - firstInode
	net := fmt.Sprintf("10.%d.%d.", 128+number>>8%128, number%256)
	net6 := fmt.Sprintf("fd00:244:%x:%x::", number>>16, number&0xffff)
	p := &Pod{NS: ns, Addr: net + "2", Addr6: net6 + "2", Veth: fmt.Sprintf("veth%d", c.pods)}
	gateway, gateway6 := net+"1", net6+"1"
	c.Net.Veth(End{p.NS, "eth0", []string{p.Addr + "/24", p.Addr6 + "/64"}},
		End{node, p.Veth, []string{gateway + "/24", gateway6 + "/64"}})
	p.IP("route add default via "+gateway, "route add default via "+gateway6)
	return p
}
