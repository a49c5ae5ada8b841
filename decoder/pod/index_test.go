package pod

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder"
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
	s.fact(0, decoder.Fact{Node: &decoder.Node{Netns: hostNetns}})
	return s
}

func (s story) fact(second int, f decoder.Fact) {
	s.Observe(decoder.Event{Header: decoder.Header{Time: at(second)}, Body: f})
}

func (s story) pod(second int, f decoder.PodFact) { s.fact(second, decoder.Fact{Pod: &f}) }

// event passes an event through and returns it.
func (s story) event(second int, h decoder.Header, p *decoder.Packet) decoder.Event {
	h.Time = at(second)
	return s.Observe(decoder.Event{Header: h, Packet: p, Body: decoder.Cgroup{}})[0]
}

func (s story) want(what string, got decoder.Pod, name, source string) {
	s.t.Helper()
	if got.Name != name || got.Source != source {
		s.t.Errorf("%s: %q by %q, want %q by %q", what, got.Name, got.Source, name, source)
	}
}

func from(src, dst string) *decoder.Packet { return &decoder.Packet{Src: addr(src), Dst: addr(dst)} }

// web has cgroup 10 and namespace 100, db 20 and 200; the node sees web's device as 7.
func twoPods(t *testing.T) story {
	s := begin(t)
	s.pod(1, decoder.PodFact{UID: "w", Namespace: "default", Name: "web", Source: "log", Netns: 100, Addrs: []netip.Addr{addr("10.0.0.1")},
		Containers: []decoder.ContainerFact{{ID: "aa", Name: "nginx", Cgroups: []uint64{10}}}})
	s.pod(1, decoder.PodFact{UID: "d", Namespace: "default", Name: "db", Source: "log", Netns: 200, Addrs: []netip.Addr{addr("10.0.0.2")},
		Containers: []decoder.ContainerFact{{ID: "bb", Name: "postgres", Cgroups: []uint64{20}}}})
	s.fact(1, decoder.Fact{Device: &decoder.Device{Netns: 100, Ifindex: 2, PeerNetns: hostNetns, PeerIndex: 7}})
	return s
}

func TestRungsInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		name         string
		h            decoder.Header
		p            *decoder.Packet
		pod, by      string
		peer, peerBy string
	}{
		{"cgroup before namespace", decoder.Header{Cgroup: 10, Netns: 200}, nil, "web", "cgroup", "", ""},
		{"namespace before address", decoder.Header{Netns: 200, Ifindex: 2, Direction: decoder.In}, from("10.0.0.1", "10.0.0.2"), "db", "netns", "web", "ip"},
		{"veth before address", decoder.Header{Netns: hostNetns, Ifindex: 7, Direction: decoder.In}, from("10.0.0.1", "10.0.0.2"), "web", "veth", "db", "ip"},
		{"veth, translated: what comes in by the node's end is from the pod", decoder.Header{Netns: hostNetns, Ifindex: 7, Direction: decoder.In}, from("10.9.9.9", "10.96.0.1"), "web", "veth", "", ""},
		{"veth, translated: what goes out by the node's end is for the pod", decoder.Header{Netns: hostNetns, Ifindex: 7, Direction: decoder.Out}, from("10.9.9.8", "10.9.9.9"), "web", "veth", "", ""},
		{"flooded by a bridge to a pod that it is not for", decoder.Header{Netns: hostNetns, Ifindex: 7, Direction: decoder.Out}, from("8.8.8.8", "10.0.0.2"), "db", "ip", "", ""},
		{"address on the node's uplink", decoder.Header{Netns: hostNetns, Ifindex: 3}, from("10.0.0.1", "8.8.8.8"), "web", "ip", "", ""},
		{"address of the receiver alone", decoder.Header{Netns: hostNetns, Ifindex: 3}, from("8.8.8.8", "10.0.0.1"), "web", "ip", "", ""},
		{"IPv4 in IPv6", decoder.Header{Netns: hostNetns}, from("::ffff:10.0.0.1", "::ffff:10.0.0.2"), "web", "ip", "db", "ip"},
		{"the node's own", decoder.Header{Netns: hostNetns, Cgroup: 1}, from("192.0.2.1", "8.8.8.8"), "", "", "", ""},
		{"a namespace of no pod", decoder.Header{Netns: 300}, nil, "", "", "", ""},
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
	s.event(5, decoder.Header{}, nil)
	s.pod(10, decoder.PodFact{UID: "w", Addrs: []netip.Addr{addr("10.0.0.1")}, Gone: true})
	s.pod(11, decoder.PodFact{UID: "w", Netns: 100, Gone: true})
	s.pod(20, decoder.PodFact{UID: "n", Name: "new", Source: "log", Netns: 100, Addrs: []netip.Addr{addr("10.0.0.1")}})
	for _, c := range []struct {
		second                int
		byAddr, byNetns, what string
	}{
		{9, "web", "web", "before it ended"},
		{15, "", "", "between the two"},
		{21, "new", "new", "when it is the next one's"},
		{9, "web", "web", "an event that comes late"},
	} {
		s.want(c.what+": address", s.event(c.second, decoder.Header{Netns: hostNetns}, from("10.0.0.1", "8.8.8.8")).Pod, c.byAddr, map[bool]string{true: "ip"}[c.byAddr != ""])
		s.want(c.what+": namespace", s.event(c.second, decoder.Header{Netns: 100}, nil).Pod, c.byNetns, map[bool]string{true: "netns"}[c.byNetns != ""])
	}
}

func TestAddressTakenOverWithoutAnEnd(t *testing.T) {
	s := twoPods(t)
	s.event(5, decoder.Header{}, nil)
	s.pod(20, decoder.PodFact{UID: "n", Name: "new", Source: "api", Addrs: []netip.Addr{addr("10.0.0.1")}})
	s.want("after", s.event(20, decoder.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "new", "api")
	s.want("before", s.event(19, decoder.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "web", "ip")
}

func TestCgroupIsNamedAMinuteAfterItsEndAndThenForgotten(t *testing.T) {
	s := twoPods(t)
	s.pod(10, decoder.PodFact{UID: "w", Gone: true})
	s.want("after a minute", s.event(70, decoder.Header{Cgroup: 10}, nil).Pod, "web", "cgroup")
	s.Flush(at(300), false)
	s.want("after five", s.event(300, decoder.Header{Cgroup: 10}, nil).Pod, "", "")
	if _, known := s.Pod("w"); known || len(s.cgroups) != 1 || len(s.addrs) != 1 || len(s.Index.netns) != 1 {
		t.Errorf("kept %+v", s.Index)
	}
}

func TestNestedCgroupsDoNotPileUp(t *testing.T) {
	s := twoPods(t)
	for id := uint64(1000); id < 2000; id++ {
		c := []decoder.ContainerFact{{ID: "aa", Cgroups: []uint64{id}}}
		s.pod(10, decoder.PodFact{UID: "w", Source: "cgroup", Containers: c})
		s.pod(10, decoder.PodFact{UID: "w", Source: "cgroup", Containers: c, Gone: true})
	}
	s.Flush(at(300), false)
	if p, _ := s.Pod("w"); len(p.Containers) != 1 || len(p.Containers[0].Cgroups) != 1 || p.Containers[0].Gone {
		t.Errorf("%+v", p.Containers[0])
	}
}

func TestHostNetworkPodsAreDistinguishedByCgroupOnly(t *testing.T) {
	s := begin(t)
	for uid, cgroup := range map[string]uint64{"etcd": 30, "apiserver": 40} {
		s.pod(1, decoder.PodFact{UID: uid, Name: uid, Source: "log", HostNetwork: true, Netns: hostNetns,
			Containers: []decoder.ContainerFact{{ID: uid, Name: uid, Cgroups: []uint64{cgroup}}}})
	}
	s.want("etcd", s.event(2, decoder.Header{Cgroup: 30, Netns: hostNetns}, nil).Pod, "etcd", "cgroup")
	s.want("apiserver", s.event(2, decoder.Header{Cgroup: 40, Netns: hostNetns}, nil).Pod, "apiserver", "cgroup")
	s.want("the node", s.event(2, decoder.Header{Cgroup: 1, Netns: hostNetns}, nil).Pod, "", "")
}

func TestBetterSourcesOfNamesWin(t *testing.T) {
	s := begin(t)
	s.pod(1, decoder.PodFact{UID: "w", Namespace: "a", Name: "from-cri", Source: "cri"})
	s.pod(2, decoder.PodFact{UID: "w", Namespace: "a", Name: "from-log", Source: "log"})
	s.pod(3, decoder.PodFact{UID: "w", Namespace: "a", Name: "from-api", Source: "api", Labels: map[string]string{"app": "web"}})
	p, _ := s.Pod("w")
	if p.Name != "from-log" || p.Sources["name"] != "log" || p.Labels["app"] != "web" || p.Sources["labels"] != "api" {
		t.Errorf("%+v", p)
	}
}

// Who tells may be behind or ahead of the events, and tells when it was.
func TestWhatIsReportedWithItsTimeHoldsThen(t *testing.T) {
	s := twoPods(t)
	s.event(5, decoder.Header{}, nil)
	s.pod(10, decoder.PodFact{UID: "w", Addrs: []netip.Addr{addr("10.0.0.1")}, Gone: true, At: 14 * time.Second})
	s.pod(11, decoder.PodFact{UID: "n", Name: "new", Source: "log"}) // heard of before it has an address
	s.pod(30, decoder.PodFact{UID: "n", Source: "netns", Netns: 300, Addrs: []netip.Addr{addr("10.0.0.1")}, At: 20 * time.Second})
	for second, name := range map[int]string{9: "web", 13: "web", 15: "", 19: "", 20: "new", 31: "new"} {
		got := s.event(second, decoder.Header{Netns: hostNetns}, from("10.0.0.1", "8.8.8.8")).Pod
		s.want(at(second).String(), got, name, map[bool]string{true: "ip"}[name != ""])
	}
}

func TestAddressIsNotTheNextPodsBeforeTheLastOneLostIt(t *testing.T) {
	s := twoPods(t)
	s.event(5, decoder.Header{}, nil)
	s.pod(10, decoder.PodFact{UID: "n", Name: "new", Source: "log"})
	s.pod(15, decoder.PodFact{UID: "w", Addrs: []netip.Addr{addr("10.0.0.1")}, Gone: true})
	s.pod(20, decoder.PodFact{UID: "n", Source: "cri", Addrs: []netip.Addr{addr("10.0.0.1")}}) // nobody knows since when
	s.want("the last one's", s.event(12, decoder.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "web", "ip")
	s.want("the next one's", s.event(16, decoder.Header{}, from("10.0.0.1", "8.8.8.8")).Pod, "new", "cri")
}

func TestSenderIsKnownByWhereItsPacketWasBefore(t *testing.T) {
	s := twoPods(t)
	s.pod(1, decoder.PodFact{UID: "e", Name: "etcd", Source: "log", HostNetwork: true,
		Containers: []decoder.ContainerFact{{ID: "ee", Name: "etcd", Cgroups: []uint64{30}}}})
	outside := decoder.Header{Netns: hostNetns, Ifindex: 2, Direction: decoder.Out}
	for _, c := range []struct {
		what      string
		h         decoder.Header
		p, later  *decoder.Packet
		name, by  string
		peer, via string
	}{
		{"masqueraded", decoder.Header{Netns: 100, Ifindex: 2, Direction: decoder.Out}, from("10.0.0.1", "8.8.8.8"), from("192.0.2.1", "8.8.8.8"), "web", "journey", "", ""},
		{"to another pod", decoder.Header{Netns: 100, Ifindex: 2, Direction: decoder.Out}, from("10.0.0.1", "10.96.0.1"), from("192.0.2.1", "10.0.0.2"), "db", "ip", "web", "journey"},
		{"of a socket on the host network", decoder.Header{Netns: hostNetns, Cgroup: 30, Direction: decoder.Out}, from("192.0.2.1", "8.8.8.8"), from("192.0.2.1", "8.8.8.8"), "etcd", "journey", "", ""},
		{"of a socket, where it arrives", decoder.Header{Netns: hostNetns, Cgroup: 10, Direction: decoder.In}, from("10.0.0.9", "10.0.0.2"), from("192.0.2.1", "10.0.0.2"), "db", "ip", "web", "journey"},
		{"passed on for others", decoder.Header{Netns: 100, Ifindex: 2, Direction: decoder.Out}, from("203.0.113.7", "8.8.8.8"), from("203.0.113.7", "8.8.8.8"), "", "", "", ""},
		{"of nobody", outside, from("192.0.2.1", "8.8.8.8"), from("192.0.2.1", "8.8.8.8"), "", "", "", ""},
	} {
		c.h.Journey++
		s.event(2, c.h, c.p)
		again := outside
		again.Journey = c.h.Journey
		e := s.event(2, again, c.later)
		s.want(c.what, e.Pod, c.name, c.by)
		s.want(c.what+": peer", e.Peer, c.peer, c.via)
		s.senders = decoder.Recent[uint64, decoder.Pod]{}
	}
}

func TestBackendsAreNamed(t *testing.T) {
	s := twoPods(t)
	for _, c := range []struct{ addr, want string }{{"10.0.0.2", "default/db"}, {"10.9.9.9", ""}} {
		for _, body := range []decoder.Body{
			decoder.DNS{Backend: netip.AddrPortFrom(addr(c.addr), 53)}, decoder.NAT{Backend: netip.AddrPortFrom(addr(c.addr), 53)},
		} {
			got := ""
			switch b := s.Backends().Observe(decoder.Event{Header: decoder.Header{Time: at(2)}, Body: body})[0].Body.(type) {
			case decoder.DNS:
				got = b.Pod
			case decoder.NAT:
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
	s.pod(1, decoder.PodFact{UID: "e", Name: "etcd", Source: "log", HostNetwork: true, Netns: hostNetns,
		Containers: []decoder.ContainerFact{{ID: "ee", Name: "etcd", Cgroups: []uint64{30}}}})
	const node = "192.0.2.1"
	for _, c := range []struct {
		name     string
		h        decoder.Header
		p        *decoder.Packet
		body     decoder.Body
		from, to string
	}{
		{"seen where it is received", decoder.Header{Netns: 200, Ifindex: 2, Direction: decoder.In}, from("10.0.0.1", "10.0.0.2"), decoder.Hop{}, "web", "db"},
		{"seen where it is sent", decoder.Header{Netns: 100, Ifindex: 2, Direction: decoder.Out}, from("10.0.0.1", "10.0.0.2"), decoder.Hop{}, "web", "db"},
		{"the node to a pod", decoder.Header{Netns: hostNetns, Ifindex: 9, Direction: decoder.Out}, from(node, "10.0.0.1"), decoder.Hop{}, "", "web"},
		{"a pod to the node", decoder.Header{Netns: hostNetns, Ifindex: 9, Direction: decoder.In}, from("10.0.0.1", node), decoder.Hop{}, "web", ""},
		{"the node resets a pod", decoder.Header{Netns: hostNetns, Ifindex: 7}, from(node, "10.0.0.1"), decoder.Sock{Op: decoder.SockResetSent}, "", "web"},
		{"the node is reset by a pod", decoder.Header{Netns: hostNetns}, from("10.0.0.1", node), decoder.Sock{Op: decoder.SockResetReceived}, "web", ""},
		{"a pod on the node's network is reset by another machine", decoder.Header{Cgroup: 30, Netns: hostNetns}, from("8.8.8.8", node), decoder.Sock{Op: decoder.SockResetReceived}, "", "etcd"},
		{"a pod on the node's network resets another machine", decoder.Header{Cgroup: 30, Netns: hostNetns}, from(node, "8.8.8.8"), decoder.Sock{Op: decoder.SockResetSent}, "etcd", ""},
		{"a pod on the node's network does not read", decoder.Header{Cgroup: 30, Netns: hostNetns}, from("10.0.0.1", node), decoder.Sock{Op: decoder.SockBufferFull}, "web", "etcd"},
		{"a pod is reset, under names that are translated", decoder.Header{Netns: 100}, from("10.96.0.1", "10.9.9.9"), decoder.Sock{Op: decoder.SockResetReceived}, "", "web"},
		{"the node answers a pod, whose packet is translated", decoder.Header{Netns: hostNetns, Ifindex: 7}, from("10.9.9.9", node), decoder.Sock{Op: decoder.SockICMPSent}, "web", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.h.Time = at(2)
			e := s.Observe(decoder.Event{Header: c.h, Packet: c.p, Body: c.body})[0]
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
	flow := func(src, dst string) decoder.FlowTuple {
		return decoder.FlowTuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
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
			packet := flow(c.src, c.dst)
			e := s.Observe(decoder.Event{
				Header: decoder.Header{Time: at(2), Netns: hostNetns, Ifindex: 3},
				Packet: &decoder.Packet{Proto: "tcp", Src: packet.Src.Addr(), Sport: packet.Src.Port(), Dst: packet.Dst.Addr(), Dport: packet.Dst.Port()},
				Body:   decoder.Drop{Conntrack: decoder.NewConntrack(flow(c.client, server), flow(server, node))},
			})[0]
			if from, to := e.Ends(); from.Name != c.from || to.Name != c.to {
				t.Errorf("from %q to %q, want from %q to %q", from.Name, to.Name, c.from, c.to)
			}
		})
	}
}
