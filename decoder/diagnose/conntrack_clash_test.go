package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder"
)

// TestWhyConntrackDoesNotTakeAFlowIn: the counter alone says that it did not, and not why.
func TestWhyConntrackDoesNotTakeAFlowIn(t *testing.T) {
	source, server := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddrPort("10.9.0.2:80")
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	flow := func(port uint16) decoder.FlowTuple {
		return decoder.FlowTuple{Src: netip.AddrPortFrom(unreachedBy, port), Dst: server}
	}
	entry := func(port, as uint16) *decoder.Conntrack {
		return decoder.NewConntrack(flow(port), decoder.FlowTuple{Src: server, Dst: netip.AddrPortFrom(source, as)})
	}
	hop := func(ms int, journey uint64, c *decoder.Conntrack) decoder.Event {
		p := &decoder.Packet{Family: "ipv4", Proto: "udp", Src: c.Original.Src.Addr(), Sport: c.Original.Src.Port(), Dst: server.Addr(), Dport: server.Port()}
		return decoder.Event{Header: decoder.Header{Time: at(ms), Netns: 7, Journey: journey}, Packet: p, Body: decoder.Hop{Conntrack: c}}
	}
	lost := decoder.Event{Header: decoder.Header{Time: at(1002), Netns: 7, Journey: 9},
		Packet: &decoder.Packet{Family: "ipv4", Proto: "udp", Src: source, Sport: 20000, Dst: server.Addr(), Dport: server.Port()}}
	drop := decoder.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Conntrack: entry(40000, 20000)}
	about := decoder.Ask(lost)
	counted := decoder.Fact{Conntrack: &decoder.ConntrackStats{Netns: 7, Rose: decoder.ConntrackCounters{InsertFailed: 1, Drop: 1}}}
	noRule := decoder.Fact{Blame: &decoder.Blame{About: about, Hooks: []string{"postrouting"}}}
	ports := func(used int, rule *decoder.RuleFact) decoder.Fact {
		return decoder.Fact{PortUse: &decoder.PortUse{About: about, Server: server, Source: source, Low: 20000, High: 20009, Used: used, Rule: rule}}
	}
	rule := &decoder.RuleFact{System: "iptables-nft", Family: "ipv4", Table: "nat", Chain: "POSTROUTING", Text: "-A POSTROUTING -j MASQUERADE --to-ports 20000-20009"}
	for _, tt := range []struct {
		name  string
		facts []decoder.Fact
		hops  []decoder.Event
		id    string
		sure  decoder.Confidence
	}{
		{"two packets of one socket", []decoder.Fact{counted, noRule}, []decoder.Event{hop(1000, 8, entry(40000, 20000)), hop(1001, 9, entry(40000, 20000))}, "conntrack-insert-race", decoder.Likely},
		{"the same packet, sent again after a second", []decoder.Fact{counted, noRule}, []decoder.Event{hop(0, 8, entry(40000, 20000)), hop(1001, 9, entry(40000, 20000))}, "netfilter-drop", decoder.Possible},
		{"two flows that got one port at once", []decoder.Fact{counted, noRule}, []decoder.Event{hop(1000, 8, entry(40001, 20000))}, "conntrack-insert-race", decoder.Likely},
		{"a flow that got a port long ago", []decoder.Fact{counted, noRule}, []decoder.Event{hop(0, 8, entry(40001, 20000))}, "netfilter-drop", decoder.Possible},
		{"no port is left", []decoder.Fact{counted, noRule, ports(10, rule)}, []decoder.Event{hop(1000, 8, entry(40001, 20000))}, "ports-exhausted", decoder.Certain},
		{"no port is left, by a rule that is not known", []decoder.Fact{counted, noRule, ports(9, nil)}, nil, "ports-exhausted", decoder.Likely},
		{"ports are left", []decoder.Fact{counted, noRule, ports(5, rule)}, nil, "netfilter-drop", decoder.Possible},
		{"no port is left, but conntrack lost nothing", []decoder.Fact{noRule, ports(10, rule)}, nil, "netfilter-drop", decoder.Possible},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, _ := learnt(tt.facts, tt.hops...).Proves(lost, drop)
			if f.ID != tt.id || f.Confidence != tt.sure {
				t.Errorf("%s %q %q, want %s %q", f.Confidence, f.ID, f.Evidence, tt.sure, tt.id)
			}
		})
	}
}
