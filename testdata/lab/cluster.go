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
	subnet uint32 // tells the addresses of this cluster's pods from those of others that run at the same time
}

// NewCluster makes the node and the server; AddPod the pods.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	n := New(t)
	c := &Cluster{Net: n, Node: n.Namespace("node"), Server: n.Namespace("server"), subnet: hash(t.Name())}
	c.Node.Sysctl("net/ipv4/ip_forward", "1")
	c.Node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	n.Veth(End{c.Node, "uplink", []string{UplinkAddr + "/24", UplinkAddr6 + "/64"}},
		End{c.Server, "eth0", []string{ServerAddr + "/24", ServerAddr6 + "/64"}})
	c.Node.IP("route add default via "+ServerAddr, "route add default via "+ServerAddr6)
	c.Server.IP("route add 10.128.0.0/9 via "+UplinkAddr, "route add fd00:244::/32 via "+UplinkAddr6)
	return c
}

// Pod is a namespace behind the node.
type Pod struct {
	*NS
	Addr, Addr6 string
	Veth        string // its device on the node
}

// AddPod makes a pod with addresses of its own in 10.128.0.0/9 and fd00:244::/32 and a default route to the node. No
// other test's pods have them, so that an address selects packets of this cluster alone.
func (c *Cluster) AddPod(name string) *Pod {
	c.t.Helper()
	return c.addPodAt(c.Node, name)
}

func (c *Cluster) addPodAt(node *NS, name string) *Pod {
	c.t.Helper()
	c.pods++
	net := fmt.Sprintf("10.%d.%d.", 128+c.subnet%128, (c.subnet>>8+uint32(c.pods))%256)
	net6 := fmt.Sprintf("fd00:244:%x:%d::", c.subnet&0xffff, c.pods)
	p := &Pod{NS: c.Namespace(name), Addr: net + "2", Addr6: net6 + "2", Veth: fmt.Sprintf("veth%d", c.pods)}
	gateway, gateway6 := net+"1", net6+"1"
	c.Net.Veth(End{p.NS, "eth0", []string{p.Addr + "/24", p.Addr6 + "/64"}},
		End{node, p.Veth, []string{gateway + "/24", gateway6 + "/64"}})
	p.IP("route add default via "+gateway, "route add default via "+gateway6)
	return p
}
