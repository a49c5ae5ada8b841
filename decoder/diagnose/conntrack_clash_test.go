// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestWhyConntrackDoesNotTakeAFlowIn: the counter alone says that it did not, and not why.
func TestWhyConntrackDoesNotTakeAFlowIn(t *testing.T) {
	source, server := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddrPort("10.9.0.2:80")
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	flow := func(port uint16) packet.FlowTuple {
		return packet.FlowTuple{Src: netip.AddrPortFrom(unreachedBy, port), Dst: server}
	}
	entry := func(port, as uint16) *event.Conntrack {
		return event.NewConntrack(flow(port), packet.FlowTuple{Src: server, Dst: netip.AddrPortFrom(source, as)})
	}
	hop := func(ms int, journey uint64, c *event.Conntrack) event.Event {
		p := &packet.Packet{Family: "ipv4", Proto: "udp", Src: c.Original.Src.Addr(), Sport: c.Original.Src.Port(), Dst: server.Addr(), Dport: server.Port()}
		return event.Event{Header: event.Header{Time: at(ms), Netns: 7, Journey: journey}, Packet: p, Body: event.Hop{Conntrack: c}}
	}
	lost := event.Event{Header: event.Header{Time: at(1002), Netns: 7, Journey: 9},
		Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: source, Sport: 20000, Dst: server.Addr(), Dport: server.Port()}}
	drop := event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Conntrack: entry(40000, 20000)}
	about := event.KeyOf(lost)
	counted := event.Fact{Conntrack: &event.ConntrackStats{Netns: 7, Rose: event.ConntrackCounters{InsertFailed: 1, Drop: 1}}}
	noRule := event.Fact{DropRules: &event.DropRules{About: about, Hooks: []string{"postrouting"}}}
	ports := func(used int, rule *event.RuleFact) event.Fact {
		return event.Fact{PortUse: &event.PortUse{About: about, Server: server, Source: source, Low: 20000, High: 20009, Used: used, Rule: rule}}
	}
	rule := &event.RuleFact{System: "iptables-nft", Family: "ipv4", Table: "nat", Chain: "POSTROUTING", Text: "-A POSTROUTING -j MASQUERADE --to-ports 20000-20009"}
	for _, tt := range []struct {
		name  string
		facts []event.Fact
		hops  []event.Event
		id    string
		sure  event.Confidence
	}{
		{"two packets of one socket", []event.Fact{counted, noRule}, []event.Event{hop(1000, 8, entry(40000, 20000)), hop(1001, 9, entry(40000, 20000))}, "conntrack-insert-race", event.Likely},
		{"the same packet, sent again after a second", []event.Fact{counted, noRule}, []event.Event{hop(0, 8, entry(40000, 20000)), hop(1001, 9, entry(40000, 20000))}, "netfilter-drop", event.Possible},
		{"two flows that got one port at once", []event.Fact{counted, noRule}, []event.Event{hop(1000, 8, entry(40001, 20000))}, "conntrack-insert-race", event.Likely},
		{"a flow that got a port long ago", []event.Fact{counted, noRule}, []event.Event{hop(0, 8, entry(40001, 20000))}, "netfilter-drop", event.Possible},
		{"no port is left", []event.Fact{counted, noRule, ports(10, rule)}, []event.Event{hop(1000, 8, entry(40001, 20000))}, "ports-exhausted", event.Certain},
		{"no port is left, by a rule that is not known", []event.Fact{counted, noRule, ports(9, nil)}, nil, "ports-exhausted", event.Likely},
		{"ports are left", []event.Fact{counted, noRule, ports(5, rule)}, nil, "netfilter-drop", event.Possible},
		{"no port is left, but conntrack lost nothing", []event.Fact{noRule, ports(10, rule)}, nil, "netfilter-drop", event.Possible},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, _ := learnt(tt.facts, tt.hops...).Proves(lost, drop)
			if f.ID != tt.id || f.Confidence != tt.sure {
				t.Errorf("%s %q %q, want %s %q", f.Confidence, f.ID, f.Evidence, tt.sure, tt.id)
			}
		})
	}
}
