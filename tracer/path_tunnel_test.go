// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
)

// tunnelCase is a tunnel between nodes and what goes through it.
type tunnelCase struct {
	name   string
	kind   string // as packet.Tunnel has it
	tunnel lab.Tunnel
	inner6 bool
	port   uint16 // of the tunnel, 0 if it has none
}

func tunnelCases() []tunnelCase {
	udp := func(kind string, port uint16, link string) []tunnelCase {
		var all []tunnelCase
		for i, name := range []string{"IPv4 in IPv4", "IPv6 in IPv4", "IPv4 in IPv6", "IPv6 in IPv6"} {
			all = append(all, tunnelCase{kind + " " + name, kind, lab.Tunnel{Link: link, IPv6: i >= 2}, i%2 == 1, port})
		}
		return all
	}
	return slices.Concat(
		udp("vxlan", 8472, "vxlan id 42 dev nodes dstport 8472"),
		udp("geneve", 6081, "geneve id 42"),
		[]tunnelCase{
			{"vxlan at an unassigned port", "vxlan", lab.Tunnel{Link: "vxlan id 42 dev nodes dstport 7777"}, false, 7777},
			{"ipip IPv4 in IPv4", "ipip", lab.Tunnel{Link: "ipip"}, false, 0},
			{"ipip IPv4 in IPv6", "ipip", lab.Tunnel{Link: "ip6tnl mode any", IPv6: true}, false, 0},
			{"ipip IPv6 in IPv6", "ipip", lab.Tunnel{Link: "ip6tnl mode any", IPv6: true}, true, 0},
		},
	)
}

func TestPathFollowsPacketsThroughTunnels(t *testing.T) {
	t.Parallel()
	for i, tc := range tunnelCases() {
		for j, variant := range []string{"tp_btf", "raw_tp"} {
			if testing.Short() && (i%2 != j || !slices.Contains([]int{0, 5, 8, 9}, i)) { // where a kernel is emulated
				continue
			}
			t.Run(tc.name+" "+variant, func(t *testing.T) {
				t.Parallel() // each traces the namespace of its own pod
				tc.run(t, variant)
			})
		}
	}
}

// run sends queries to a service whose backend is a pod of the other node.
func (tc tunnelCase) run(t *testing.T, variant string) {
	c := lab.NewCluster(t)
	if kind, _, _ := strings.Cut(tc.tunnel.Link, " "); !c.HasDevice(kind) {
		t.Skipf("this kernel was built without %s devices", kind)
	}
	pod, other := c.AddPod("a"), c.AddPod("b")
	peer := c.AddPeer(tc.tunnel)
	tool, service, backend := "iptables", lab.ServiceDNS, peer.Pod.Addr
	if tc.inner6 {
		tool, service, backend = "ip6tables", lab.ServiceDNS6, peer.Pod.Addr6
	}
	service, backend = net.JoinHostPort(service, "53"), net.JoinHostPort(backend, "5353")
	c.Node.Run(tool, "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-d", netip.MustParseAddrPort(service).Addr().String(), "--dport", "53",
		"-j", "DNAT", "--to-destination", backend)
	echoAt(t, peer.Pod.NS, backend)
	exchange(t, pod, service, 1) // neighbours are resolved now
	tr, err := Open(pathOptions(pod.NS, variant))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	const n = 23
	exchange(t, pod, service, n)
	exchange(t, other, service, n)
	events, _ := drain(t, tr)
	journeys := byJourney(events)
	if len(journeys) != 2*n {
		t.Errorf("%d journeys, want %d queries and as many answers", len(journeys), n)
	}
	for _, hops := range journeys {
		tc.check(t, c, pod, peer, hops, netip.MustParseAddrPort(service), netip.MustParseAddrPort(backend))
	}
	if t.Failed() {
		for _, e := range events {
			if e.Packet != nil {
				t.Log(e.Journey, event.Place(e), e.Packet, e.Body.Summary())
			}
		}
	}
}

// check wants a query or an answer with all eight hops in order: the inner packet everywhere, translated where it must
// be, and between the nodes the outer one.
func (tc tunnelCase) check(t *testing.T, c *lab.Cluster, pod *lab.Pod, peer *lab.Peer, hops []event.Event, service, backend netip.AddrPort) {
	t.Helper()
	node := c.Node.Inode()
	spaces := []uint32{pod.Inode(), node, node, node, peer.Inode(), peer.Inode(), peer.Inode(), peer.Pod.Inode()}
	answer := hops[0].Netns == peer.Pod.Inode()
	if answer {
		slices.Reverse(spaces)
	}
	var got []uint32
	for i, h := range hops {
		got = append(got, h.Netns)
		inner := h.Packet.Innermost().Flow()
		if answer {
			inner = inner.Reverse()
		}
		to := inner.Dst
		translated := i >= 2
		if answer {
			translated = i <= 5
		}
		want := service
		if translated {
			want = backend
		}
		if to != want {
			t.Errorf("hop %d (answer: %v): %v, want to %v", i, answer, inner, want)
		}
		if between := i == 3 || i == 4; between != (h.Packet.Tunnel != nil) {
			t.Errorf("hop %d: %v, in a tunnel: %v", i, h.Packet, !between)
		}
	}
	if !slices.Equal(got, spaces) {
		t.Errorf("way %v, want %v", got, spaces)
		return
	}
	tc.checkOuter(t, hops[3], answer)
	tc.checkOuter(t, hops[4], answer)
}

// checkOuter wants the nodes' addresses around the packet.
func (tc tunnelCase) checkOuter(t *testing.T, h event.Event, answer bool) {
	t.Helper()
	src, dst := lab.NodeAddr, lab.PeerAddr
	if tc.tunnel.IPv6 {
		src, dst = lab.NodeAddr6, lab.PeerAddr6
	}
	if answer {
		src, dst = dst, src
	}
	p := h.Packet
	if p.Src.String() != src || p.Dst.String() != dst || p.Dport != tc.port || p.Tunnel.Kind != tc.kind {
		t.Errorf("outer %v, want %s from %s to %s at port %d", p, tc.kind, src, dst, tc.port)
	}
	if tc.port != 0 && p.Tunnel.VNI != 42 {
		t.Errorf("network %d, want 42", p.Tunnel.VNI)
	}
}
