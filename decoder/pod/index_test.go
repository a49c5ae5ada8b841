// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

const hostNetns = 1

// at is a time in seconds.
func at(seconds int) time.Time { return time.Unix(int64(seconds), 0) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// story is an index to which things happen.
type story struct {
	t *testing.T
	*Index
}

func begin(t *testing.T) story {
	s := story{t, NewIndex()}
	s.fact(0, event.Fact{Node: &event.Node{Netns: hostNetns}})
	return s
}

func (s story) fact(second int, f event.Fact) {
	s.Observe(event.Event{Header: event.Header{Time: at(second)}, Body: f})
}

func (s story) pod(second int, f event.PodFact) { s.fact(second, event.Fact{Pod: &f}) }

// event passes an event through and returns it.
func (s story) event(second int, h event.Header, p *packet.Packet) event.Event {
	h.Time = at(second)
	return s.Observe(event.Event{Header: h, Packet: p, Body: event.Cgroup{}})[0]
}

func (s story) want(what string, got event.Pod, name, source string) {
	s.t.Helper()
	if got.Name != name || got.Source != source {
		s.t.Errorf("%s: %q by %q, want %q by %q", what, got.Name, got.Source, name, source)
	}
}

func from(src, dst string) *packet.Packet { return &packet.Packet{Src: addr(src), Dst: addr(dst)} }

// web has cgroup 10 and namespace 100, db 20 and 200; the node sees web's device as 7.
func twoPods(t *testing.T) story {
	s := begin(t)
	s.pod(1, event.PodFact{UID: "w", Namespace: "default", Name: "web", Source: "log", Netns: 100, Addrs: []netip.Addr{addr("10.0.0.1")},
		Containers: []event.ContainerFact{{ID: "aa", Name: "nginx", Cgroups: []uint64{10}}}})
	s.pod(1, event.PodFact{UID: "d", Namespace: "default", Name: "db", Source: "log", Netns: 200, Addrs: []netip.Addr{addr("10.0.0.2")},
		Containers: []event.ContainerFact{{ID: "bb", Name: "postgres", Cgroups: []uint64{20}}}})
	s.fact(1, event.Fact{Device: &event.Device{Netns: 100, Ifindex: 2, PeerNetns: hostNetns, PeerIndex: 7}})
	return s
}

func TestRungsInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		name         string
		h            event.Header
		p            *packet.Packet
		pod, by      string
		peer, peerBy string
	}{
		{"cgroup before namespace", event.Header{Cgroup: 10, Netns: 200}, nil, "web", "cgroup", "", ""},
		{"namespace before address", event.Header{Netns: 200, Ifindex: 2, Direction: event.In}, from("10.0.0.1", "10.0.0.2"), "db", "netns", "web", "ip"},
		{"veth before address", event.Header{Netns: hostNetns, Ifindex: 7, Direction: event.In}, from("10.0.0.1", "10.0.0.2"), "web", "veth", "db", "ip"},
		{"veth, translated: what comes in by the node's end is from the pod", event.Header{Netns: hostNetns, Ifindex: 7, Direction: event.In}, from("10.9.9.9", "10.96.0.1"), "web", "veth", "", ""},
		{"veth, translated: what goes out by the node's end is for the pod", event.Header{Netns: hostNetns, Ifindex: 7, Direction: event.Out}, from("10.9.9.8", "10.9.9.9"), "web", "veth", "", ""},
		{"flooded by a bridge to a pod that it is not for", event.Header{Netns: hostNetns, Ifindex: 7, Direction: event.Out}, from("8.8.8.8", "10.0.0.2"), "db", "ip", "", ""},
		{"address on the node's uplink", event.Header{Netns: hostNetns, Ifindex: 3}, from("10.0.0.1", "8.8.8.8"), "web", "ip", "", ""},
		{"address of the receiver alone", event.Header{Netns: hostNetns, Ifindex: 3}, from("8.8.8.8", "10.0.0.1"), "web", "ip", "", ""},
		{"IPv4 in IPv6", event.Header{Netns: hostNetns}, from("::ffff:10.0.0.1", "::ffff:10.0.0.2"), "web", "ip", "db", "ip"},
		{"the node's own", event.Header{Netns: hostNetns, Cgroup: 1}, from("192.0.2.1", "8.8.8.8"), "", "", "", ""},
		{"a namespace of no pod", event.Header{Netns: 300}, nil, "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := twoPods(t)
			e := s.event(2, c.h, c.p)
			s.want("pod", e.Pod, c.pod, c.by)
			s.want("peer", e.Peer, c.peer, c.peerBy)
		})
	}
}

func TestAddressAndNamespaceAreWhoseTheyWereAtTheTime(t *testing.T) {
	s := twoPods(t)
	s.event(5, event.Header{}, nil)
	s.pod(10, event.PodFact{UID: "w", Addrs: []netip.Addr{addr("10.0.0.1")}, Gone: true})
	s.pod(11, event.PodFact{UID: "w", Netns: 100, Gone: true})
	s.pod(20, event.PodFact{UID: "n", Name: "new", Source: "log", Netns: 100, Addrs: []netip.Addr{addr("10.0.0.1")}})
	for _, c := range []struct {
		second                int
		byAddr, byNetns, what string
	}{
		{9, "web", "web", "before it ended"},
		{15, "", "", "between the two"},
		{21, "new", "new", "when it is the next one's"},
		{9, "web", "web", "an event that comes late"},
	} {
		s.want(c.what+": address", s.event(c.second, event.Header{Netns: hostNetns}, from("10.0.0.1", "8.8.8.8")).Pod, c.byAddr, map[bool]string{true: "ip"}[c.byAddr != ""])
		s.want(c.what+": namespace", s.event(c.second, event.Header{Netns: 100}, nil).Pod, c.byNetns, map[bool]string{true: "netns"}[c.byNetns != ""])
	}
}

func TestAddressTakenOverWithoutAnEnd(t *testing.T) {
	s := twoPods(t)
	s.event(5, event.Header{}, nil)
	s.pod(20, event.PodFact{UID: "n", Name: "new", Source: "api", Addrs: []netip.Addr{addr("10.0.0.1")}})
	s.want("after", s.event(20, event.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "new", "api")
	s.want("before", s.event(19, event.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "web", "ip")
}

func TestCgroupIsNamedAMinuteAfterItsEndAndThenForgotten(t *testing.T) {
	s := twoPods(t)
	s.pod(10, event.PodFact{UID: "w", Gone: true})
	s.want("after a minute", s.event(70, event.Header{Cgroup: 10}, nil).Pod, "web", "cgroup")
	s.Flush(at(300), false)
	s.want("after five", s.event(300, event.Header{Cgroup: 10}, nil).Pod, "", "")
	if _, known := s.Pod("w"); known || len(s.cgroups) != 1 || len(s.addrs) != 1 || len(s.Index.netns) != 1 {
		t.Errorf("kept %+v", s.Index)
	}
}

func TestNestedCgroupsDoNotPileUp(t *testing.T) {
	s := twoPods(t)
	for id := uint64(1000); id < 2000; id++ {
		c := []event.ContainerFact{{ID: "aa", Cgroups: []uint64{id}}}
		s.pod(10, event.PodFact{UID: "w", Source: "cgroup", Containers: c})
		s.pod(10, event.PodFact{UID: "w", Source: "cgroup", Containers: c, Gone: true})
	}
	s.Flush(at(300), false)
	if p, _ := s.Pod("w"); len(p.Containers) != 1 || len(p.Containers[0].Cgroups) != 1 || p.Containers[0].Gone {
		t.Errorf("%+v", p.Containers[0])
	}
}

func TestHostNetworkPodsAreDistinguishedByCgroupOnly(t *testing.T) {
	s := begin(t)
	for uid, cgroup := range map[string]uint64{"etcd": 30, "apiserver": 40} {
		s.pod(1, event.PodFact{UID: uid, Name: uid, Source: "log", HostNetwork: true, Netns: hostNetns,
			Containers: []event.ContainerFact{{ID: uid, Name: uid, Cgroups: []uint64{cgroup}}}})
	}
	s.want("etcd", s.event(2, event.Header{Cgroup: 30, Netns: hostNetns}, nil).Pod, "etcd", "cgroup")
	s.want("apiserver", s.event(2, event.Header{Cgroup: 40, Netns: hostNetns}, nil).Pod, "apiserver", "cgroup")
	s.want("the node", s.event(2, event.Header{Cgroup: 1, Netns: hostNetns}, nil).Pod, "", "")
}

func TestBetterSourcesOfNamesWin(t *testing.T) {
	s := begin(t)
	s.pod(1, event.PodFact{UID: "w", Namespace: "a", Name: "from-cri", Source: "cri"})
	s.pod(2, event.PodFact{UID: "w", Namespace: "a", Name: "from-log", Source: "log"})
	s.pod(3, event.PodFact{UID: "w", Namespace: "a", Name: "from-api", Source: "api", Labels: map[string]string{"app": "web"}})
	p, _ := s.Pod("w")
	if p.Name != "from-log" || p.Sources["name"] != "log" || p.Labels["app"] != "web" || p.Sources["labels"] != "api" {
		t.Errorf("%+v", p)
	}
}

// A source may be behind or ahead of the events, and says when it was.
func TestWhatIsReportedWithItsTimeHoldsThen(t *testing.T) {
	s := twoPods(t)
	s.event(5, event.Header{}, nil)
	s.pod(10, event.PodFact{UID: "w", Addrs: []netip.Addr{addr("10.0.0.1")}, Gone: true, At: 14 * time.Second})
	s.pod(11, event.PodFact{UID: "n", Name: "new", Source: "log"}) // heard of before it has an address
	s.pod(30, event.PodFact{UID: "n", Source: "netns", Netns: 300, Addrs: []netip.Addr{addr("10.0.0.1")}, At: 20 * time.Second})
	for second, name := range map[int]string{9: "web", 13: "web", 15: "", 19: "", 20: "new", 31: "new"} {
		got := s.event(second, event.Header{Netns: hostNetns}, from("10.0.0.1", "8.8.8.8")).Pod
		s.want(at(second).String(), got, name, map[bool]string{true: "ip"}[name != ""])
	}
}

func TestAddressIsNotTheNextPodsBeforeTheLastOneLostIt(t *testing.T) {
	s := twoPods(t)
	s.event(5, event.Header{}, nil)
	s.pod(10, event.PodFact{UID: "n", Name: "new", Source: "log"})
	s.pod(15, event.PodFact{UID: "w", Addrs: []netip.Addr{addr("10.0.0.1")}, Gone: true})
	s.pod(20, event.PodFact{UID: "n", Source: "cri", Addrs: []netip.Addr{addr("10.0.0.1")}}) // nobody knows since when
	s.want("the last one's", s.event(12, event.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "web", "ip")
	s.want("the next one's", s.event(16, event.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "new", "cri")
}

func TestSenderIsKnownByWhereItsPacketWasBefore(t *testing.T) {
	s := twoPods(t)
	s.pod(1, event.PodFact{UID: "e", Name: "etcd", Source: "log", HostNetwork: true,
		Containers: []event.ContainerFact{{ID: "ee", Name: "etcd", Cgroups: []uint64{30}}}})
	outside := event.Header{Netns: hostNetns, Ifindex: 2, Direction: event.Out}
	for _, c := range []struct {
		what      string
		h         event.Header
		p, later  *packet.Packet
		name, by  string
		peer, via string
	}{
		{"masqueraded", event.Header{Netns: 100, Ifindex: 2, Direction: event.Out}, from("10.0.0.1", "8.8.8.8"), from("192.0.2.1", "8.8.8.8"), "web", "journey", "", ""},
		{"to another pod", event.Header{Netns: 100, Ifindex: 2, Direction: event.Out}, from("10.0.0.1", "10.96.0.1"), from("192.0.2.1", "10.0.0.2"), "db", "ip", "web", "journey"},
		{"of a socket on the host network", event.Header{Netns: hostNetns, Cgroup: 30, Direction: event.Out}, from("192.0.2.1", "8.8.8.8"), from("192.0.2.1", "8.8.8.8"), "etcd", "journey", "", ""},
		{"of a socket, where it arrives", event.Header{Netns: hostNetns, Cgroup: 10, Direction: event.In}, from("10.0.0.9", "10.0.0.2"), from("192.0.2.1", "10.0.0.2"), "db", "ip", "web", "journey"},
		{"with another pod's address", event.Header{Netns: 100, Ifindex: 2, Direction: event.Out}, from("10.0.0.2", "8.8.8.8"), from("10.0.0.2", "8.8.8.8"), "web", "journey", "", ""},
		{"passed on for others", event.Header{Netns: 100, Ifindex: 2, Direction: event.Out}, from("203.0.113.7", "8.8.8.8"), from("203.0.113.7", "8.8.8.8"), "", "", "", ""},
		{"of nobody", outside, from("192.0.2.1", "8.8.8.8"), from("192.0.2.1", "8.8.8.8"), "", "", "", ""},
	} {
		c.h.Journey++
		s.event(2, c.h, c.p)
		again := outside
		again.Journey = c.h.Journey
		e := s.event(2, again, c.later)
		s.want(c.what, e.Pod, c.name, c.by)
		s.want(c.what+": peer", e.Peer, c.peer, c.via)
		s.senders, s.forgers = bounded.Map[uint64, event.Pod]{}, bounded.Map[uint64, event.Pod]{}
	}
}

func TestBackendsAreNamed(t *testing.T) {
	s := twoPods(t)
	for _, c := range []struct{ addr, want string }{{"10.0.0.2", "default/db"}, {"10.9.9.9", ""}} {
		for _, body := range []event.Body{
			event.DNS{Backend: netip.AddrPortFrom(addr(c.addr), 53)}, event.NAT{Backend: netip.AddrPortFrom(addr(c.addr), 53)},
		} {
			got := ""
			switch b := s.Backends().Observe(event.Event{Header: event.Header{Time: at(2)}, Body: body})[0].Body.(type) {
			case event.DNS:
				got = b.Pod
			case event.NAT:
				got = b.Pod
			}
			if got != c.want {
				t.Errorf("%s of %s: %q, want %q", body.Kind(), c.addr, got, c.want)
			}
		}
	}
}

// TestEndsAreKnownByTheirRole: what a socket reports shows which end it is, whatever addresses are known; the node's processes
// have no pod.
func TestEndsAreKnownByTheirRole(t *testing.T) {
	s := twoPods(t)
	s.pod(1, event.PodFact{UID: "e", Name: "etcd", Source: "log", HostNetwork: true, Netns: hostNetns,
		Containers: []event.ContainerFact{{ID: "ee", Name: "etcd", Cgroups: []uint64{30}}}})
	const node = "192.0.2.1"
	for _, c := range []struct {
		name     string
		h        event.Header
		p        *packet.Packet
		body     event.Body
		from, to string
	}{
		{"seen where it is received", event.Header{Netns: 200, Ifindex: 2, Direction: event.In}, from("10.0.0.1", "10.0.0.2"), event.Hop{}, "web", "db"},
		{"seen where it is sent", event.Header{Netns: 100, Ifindex: 2, Direction: event.Out}, from("10.0.0.1", "10.0.0.2"), event.Hop{}, "web", "db"},
		{"the node to a pod", event.Header{Netns: hostNetns, Ifindex: 9, Direction: event.Out}, from(node, "10.0.0.1"), event.Hop{}, "", "web"},
		{"a pod to the node", event.Header{Netns: hostNetns, Ifindex: 9, Direction: event.In}, from("10.0.0.1", node), event.Hop{}, "web", ""},
		{"the node resets a pod", event.Header{Netns: hostNetns, Ifindex: 7}, from(node, "10.0.0.1"), event.Sock{Op: event.SockResetSent}, "", "web"},
		{"the node is reset by a pod", event.Header{Netns: hostNetns}, from("10.0.0.1", node), event.Sock{Op: event.SockResetReceived}, "web", ""},
		{"a pod on the node's network is reset by another machine", event.Header{Cgroup: 30, Netns: hostNetns}, from("8.8.8.8", node), event.Sock{Op: event.SockResetReceived}, "", "etcd"},
		{"a pod on the node's network resets another machine", event.Header{Cgroup: 30, Netns: hostNetns}, from(node, "8.8.8.8"), event.Sock{Op: event.SockResetSent}, "etcd", ""},
		{"a pod on the node's network does not read", event.Header{Cgroup: 30, Netns: hostNetns}, from("10.0.0.1", node), event.Sock{Op: event.SockBufferFull}, "web", "etcd"},
		{"a pod is reset, under names that are translated", event.Header{Netns: 100}, from("10.96.0.1", "10.9.9.9"), event.Sock{Op: event.SockResetReceived}, "", "web"},
		{"the node answers a pod, whose packet is translated", event.Header{Netns: hostNetns, Ifindex: 7}, from("10.9.9.9", node), event.Sock{Op: event.SockICMPSent}, "web", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.h.Time = at(2)
			e := s.Observe(event.Event{Header: c.h, Packet: c.p, Body: c.body})[0]
			if from, to := e.Ends(); from.Name != c.from || to.Name != c.to {
				t.Errorf("from %q to %q, want from %q to %q", from.Name, to.Name, c.from, c.to)
			}
		})
	}
}

// TestPodsAreKnownBehindSourceTranslation: by what conntrack says that they are, on both ways; who has the node's address of
// its own is no pod.
func TestPodsAreKnownBehindSourceTranslation(t *testing.T) {
	s := twoPods(t)
	const node, server = "192.0.2.1:40000", "8.8.8.8:80"
	flow := func(src, dst string) packet.FlowTuple {
		return packet.FlowTuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
	}
	for _, c := range []struct {
		name, client, src, dst string
		from, to               string
	}{
		{"a pod's packet", "10.0.0.1:40000", node, server, "web", ""},
		{"its answer", "10.0.0.1:40000", server, node, "", "web"},
		{"the node's own", "192.0.2.1:50000", node, server, "", ""},
		{"before it is translated", "10.0.0.1:40000", "10.0.0.1:40000", server, "web", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			pkt := flow(c.src, c.dst)
			e := s.Observe(event.Event{
				Header: event.Header{Time: at(2), Netns: hostNetns, Ifindex: 3},
				Packet: &packet.Packet{Proto: "tcp", Src: pkt.Src.Addr(), Sport: pkt.Src.Port(), Dst: pkt.Dst.Addr(), Dport: pkt.Dst.Port()},
				Body:   event.Drop{Conntrack: event.NewConntrack(flow(c.client, server), flow(server, node))},
			})[0]
			if from, to := e.Ends(); from.Name != c.from || to.Name != c.to {
				t.Errorf("from %q to %q, want from %q to %q", from.Name, to.Name, c.from, c.to)
			}
		})
	}
}
