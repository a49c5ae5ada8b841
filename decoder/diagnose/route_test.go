// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestWhatOldKernelsDoNotReportIsAsked: before 5.17 a drop has no reason, but the kernel says what is wrong with a packet
// to who asks for its way.
func TestWhatOldKernelsDoNotReportIsAsked(t *testing.T) {
	src, dst := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.9.0.2")
	e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, Iface: "veth1"},
		Packet: &packet.Packet{Family: "ipv4", Proto: "icmp", Src: src, Dst: dst, TTL: 64}}
	about := event.KeyOf(e)
	for _, tt := range []struct {
		name, location, reason, errno, back, want string
	}{
		{"the way back leads elsewhere", "ip_rcv_finish_core", event.ReasonNotReported, "EXDEV", "unicast", "rp-filter"},
		{"the source is the host's own", "ip_rcv_finish_core", event.ReasonNotReported, "", "local", "martian-source"},
		{"the kernel has no objection now", "ip_rcv_finish_core", event.ReasonNotReported, "", "unicast", "kernel-drop"},
		{"another function", "tcp_v4_rcv", event.ReasonNotReported, "EXDEV", "unicast", ""},
		{"a kernel that gave another reason", "ip_rcv_finish_core", "IP_CSUM", "EXDEV", "unicast", "checksum-error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := NewState()
			for _, r := range []event.Route{
				{About: about, Dst: dst, In: "veth1", Errno: tt.errno},
				{About: about, Reverse: true, Dst: src, Type: tt.back},
			} {
				st.Observe(event.Event{Body: event.Fact{Route: &r}})
			}
			f, _ := st.Proves(e, event.Drop{Reason: tt.reason, Location: tt.location})
			if f.ID != tt.want || f.ID != "" && f.Confidence != event.Certain {
				t.Errorf("%q (%s), want %q", f.ID, f.Confidence, tt.want)
			}
		})
	}
}

// TestALoopIsToldFromASmallTTL: what comes round is seen with ever less life, and what began with little is not.
func TestALoopIsToldFromASmallTTL(t *testing.T) {
	falling := func(from, to, by byte, sport, dport uint16) (all [][]byte) {
		for ttl := from; ttl > to; ttl -= by {
			all = append(all, datagram(unreachedBy, unreached, 6, ttl, sport, dport))
		}
		return all
	}
	request, answer := datagram(unreachedBy, unreached, 6, 1, 40000, 80), datagram(unreachedBy, unreached, 6, 1, 80, 40000)
	answer[33] = 0x10
	for _, tt := range []struct {
		name   string
		before [][]byte
		last   []byte
		want   string
	}{
		{"two routers send it to each other", falling(64, 1, 2, 40000, 80), request, "are in a routing loop: TTL exceeded certain"},
		{"the answer of a metadata service", falling(64, 60, 2, 80, 40000), answer, "arrive with TTL 1, so the node does not forward them likely"},
		{"all answers of one", falling(1, 0, 1, 80, 40000), answer, "arrive with TTL 1, so the node does not forward them likely"},
		{"nothing else was seen", nil, request, "a routing loop, or a small initial TTL certain"},
		{"traceroute", falling(3, 0, 1, 40000, 80), request, ""},
	} {
		st := NewState()
		for _, e := range passing(tt.before...) {
			st.Observe(e)
		}
		e := event.Event{Header: event.Header{Time: time.Unix(1001, 0), Netns: 7, Iface: "eth0"}, Packet: packet.ParseIP(tt.last)}
		f, _ := st.Proves(e, event.Drop{Reason: "IP_INHDR", Location: "ip_forward", Answer: &event.Answer{Name: "time-exceeded"}})
		words, sure, _ := strings.Cut(tt.want, " "+string(f.Confidence))
		if sure != "" || !strings.Contains(f.Title, words) || (f.ID == "") != (tt.want == "") {
			t.Errorf("%s: %q (%s), want %q", tt.name, f.Title, f.Confidence, tt.want)
		}
	}
}

// TestAMartianIsToldByWhatMadeItOne: translation does, and not only addresses that are used twice.
func TestAMartianIsToldByWhatMadeItOne(t *testing.T) {
	pod, node := netip.MustParseAddrPort("10.244.1.2:40000"), netip.MustParseAddrPort("10.244.1.1:80")
	loopback := netip.MustParseAddrPort("127.0.0.1:80")
	for _, tt := range []struct {
		name, reason   string
		src, dst, into netip.AddrPort
		remedy         string
	}{
		{"a pod is the backend of the service that it asks", "IP_LOCAL_SOURCE", pod, pod, netip.AddrPort{}, "masquerade"},
		{"a rule translates to a loopback address", "IP_LOCALNET", pod, loopback, loopback, "sysctl -w net.ipv4.conf.veth1.route_localnet=1"},
		{"a loopback address that nothing translated", "IP_LOCALNET", pod, loopback, netip.AddrPort{}, "log_martians"},
		{"an address that is used twice", "IP_LOCAL_SOURCE", pod, node, netip.AddrPort{}, "log_martians"},
	} {
		e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, Iface: "veth1"},
			Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Flags: "S", Src: tt.src.Addr(), Sport: tt.src.Port(), Dst: tt.dst.Addr(), Dport: tt.dst.Port(), TTL: 64}}
		d := event.Drop{Reason: tt.reason, Location: "ip_rcv_finish_core"}
		if tt.into.IsValid() {
			d.Conntrack = event.NewConntrack(packet.FlowTuple{Src: pod, Dst: node}, packet.FlowTuple{Src: tt.into, Dst: pod})
		}
		if f, _ := NewState().Proves(e, d); f.ID != "martian-source" || !strings.Contains(fmt.Sprint(f.Remedy), tt.remedy) {
			t.Errorf("%s: %s with the remedy %q, want %q", tt.name, f.ID, f.Remedy, tt.remedy)
		}
	}
}

// TestAFilteredNeighbourIsNotDown: where a rule takes neighbour discovery, that is the cause, and not the neighbour.
func TestAFilteredNeighbourIsNotDown(t *testing.T) {
	pod, gateway := netip.MustParseAddr("fd00:244:1::2"), netip.MustParseAddr("fd00:244:1::1")
	group := netip.MustParseAddr("ff02::1:ff00:1")
	icmp := func(kind uint8, src, dst netip.Addr) event.Event {
		return event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, Iface: "veth1"},
			Packet: &packet.Packet{Family: "ipv6", Proto: "icmpv6", ICMPType: kind, Src: src, Dst: dst, TTL: 255}, Body: event.Drop{Reason: "NETFILTER_DROP"}}
	}
	lost := event.Event{Header: event.Header{Time: time.Unix(1003, 0), Netns: 8, Iface: "eth0"},
		Packet: &packet.Packet{Family: "ipv6", Proto: "tcp", Flags: "S", Src: pod, Sport: 40000, Dst: gateway, Dport: 80, TTL: 64}, Body: event.Drop{Location: "neigh_invalidate", Reason: "NOT_SPECIFIED"}}
	other := icmp(135, pod, netip.MustParseAddr("ff02::1:ff00:9"))
	for _, tt := range []struct {
		name   string
		events []event.Event
		want   string
	}{
		{"a question to the group", []event.Event{icmp(135, pod, group), lost}, "netfilter-drop"},
		{"an answer", []event.Event{icmp(136, gateway, pod), lost}, "netfilter-drop"},
		{"a question about another", []event.Event{other, lost}, "netfilter-drop neighbour-failed"},
		{"whether an address is free", []event.Event{icmp(135, netip.IPv6Unspecified(), group), lost}, "neighbour-failed"},
		{"another message", []event.Event{icmp(133, pod, netip.MustParseAddr("ff02::2")), lost}, "neighbour-failed"},
		{"none", []event.Event{lost}, "neighbour-failed"},
	} {
		state := NewState()
		rule := NewDrops(state)
		for _, e := range tt.events {
			state.Observe(e)
			rule.Observe(e)
		}
		var ids []string
		for _, f := range rule.Flush(time.Unix(1010, 0), true) {
			ids = append(ids, f.ID)
		}
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestOneConnectFailsOnce: the kernel looks for a route twice, to choose a source address first.
func TestOneConnectFailsOnce(t *testing.T) {
	state := NewState()
	rule := NewConnectNoRoute(state, Config{})
	dst := netip.MustParseAddr("fd00:9::2")
	for i, src := range []string{"::", "fd00:244:1::2", "::", "fd00:244:1::2"} {
		at := time.Unix(1000, 0).Add(time.Duration(i/2)*time.Second + time.Duration(i%2)*20*time.Microsecond)
		e := event.Event{Header: event.Header{Time: at, Netns: 7, PID: 5, TID: 5},
			Packet: &packet.Packet{Family: "ipv6", Proto: "tcp", Src: netip.MustParseAddr(src), Dst: dst, Dport: 80}, Body: event.Sock{Op: event.SockNoRoute}}
		state.Observe(event.Event{Body: event.Fact{Route: &event.Route{About: event.KeyOf(e), Dst: dst, Errno: "ENETUNREACH"}}})
		rule.Observe(e)
	}
	found := rule.Flush(time.Unix(1010, 0), true)
	if len(found) != 1 || found[0].Count != 2 {
		t.Errorf("%+v, want one finding about two connects", found)
	}
}
