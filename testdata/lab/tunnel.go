// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"
)

// Addresses of the two nodes on the network between them, and of their ends of the tunnel.
const (
	NodeAddr  = "10.8.0.1"
	NodeAddr6 = "fd00:8::1"
	PeerAddr  = "10.8.0.2"
	PeerAddr6 = "fd00:8::2"

	tunnelNode  = "172.29.0.1"
	tunnelNode6 = "fd00:29::1"
	tunnelPeer  = "172.29.0.2"
	tunnelPeer6 = "fd00:29::2"
)

// Peer is another node with a pod, which the pods of the first node reach by a tunnel between the nodes:
//
//	pod eth0 ── veth1 node tun0 ═ nodes ── nodes ═ tun0 peer veth ── eth0 pod
type Peer struct {
	*NS
	Pod *Pod
}

// Tunnel says what the nodes put around the packets of pods.
type Tunnel struct {
	Link string // the device as ip link takes it, without the ends: "vxlan id 42 dstport 8472"
	IPv6 bool   // between the nodes
}

// HasDevice reports whether this kernel has devices of a type.
func (c *Cluster) HasDevice(kind string) bool {
	c.t.Helper()
	out, err := c.Namespace("scratch").Try("ip", "link", "add", "type", kind)
	return err == nil || !strings.Contains(out, "Unknown device type")
}

// AddPeer makes the other node and its pod. The tunnel's devices are called tun0.
func (c *Cluster) AddPeer(tunnel Tunnel) *Peer {
	c.t.Helper()
	p := &Peer{NS: c.Namespace("peer")}
	p.Sysctl("net/ipv4/ip_forward", "1")
	p.Sysctl("net/ipv6/conf/all/forwarding", "1")
	c.Veth(End{c.Node, "nodes", []string{NodeAddr + "/24", NodeAddr6 + "/64"}},
		End{p.NS, "nodes", []string{PeerAddr + "/24", PeerAddr6 + "/64"}})
	near, far := NodeAddr, PeerAddr
	if tunnel.IPv6 {
		near, far = NodeAddr6, PeerAddr6
	}
	p.Pod = c.addPodAt(p.NS, "far")
	c.tunnelEnd(c.Node, tunnel, near, far, tunnelNode, tunnelNode6)
	c.tunnelEnd(p.NS, tunnel, far, near, tunnelPeer, tunnelPeer6)
	routeToPods(c.Node, tunnelPeer, tunnelPeer6)
	routeToPods(p.NS, tunnelNode, tunnelNode6)
	return p
}

// tunnelEnd makes one end of the tunnel.
func (c *Cluster) tunnelEnd(node *NS, tunnel Tunnel, local, remote, addr, addr6 string) {
	c.t.Helper()
	ends := "local " + local + " remote " + remote
	if strings.HasPrefix(tunnel.Link, "geneve") {
		ends = "remote " + remote // routing chooses the local one
	}
	node.IP(fmt.Sprintf("link add tun0 type %s %s", tunnel.Link, ends))
	node.IP("addr add " + addr + "/24 dev tun0")
	node.IP("addr add " + addr6 + "/64 dev tun0 nodad")
	node.IP("link set tun0 up")
}

// routeToPods sends to the other end what is for pods that are not here.
func routeToPods(node *NS, via, via6 string) {
	node.t.Helper()
	node.IP("route add 10.128.0.0/9 via " + via + " dev tun0")
	node.IP("-6 route add fd00:244::/32 via " + via6 + " dev tun0")
}
