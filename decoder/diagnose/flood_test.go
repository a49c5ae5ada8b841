// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/tls"
)

// TestAttackOneSenderFillsWhatRulesRemember: it loses what is its own, not what is remembered of another at the same place.
func TestAttackOneSenderFillsWhatRulesRemember(t *testing.T) {
	const flood = 1 << 15
	flooder, other := netip.MustParseAddr("10.244.1.66"), netip.MustParseAddr("10.244.1.2")
	from := func(src netip.Addr, n int) event.Event {
		dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), uint16(1+n%1000))
		return event.Event{
			Header: event.Header{Time: time.Unix(1000, 0), Netns: 7},
			Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: src, Sport: 50000, Dst: dst.Addr(), Dport: dst.Port()},
			Body:   event.Drop{Reason: "NETFILTER_DROP"},
		}
	}
	server := func(n int) netip.AddrPort { return from(other, n).Packet.Destination() }
	pending, state := newPending(), NewState()
	lookups, loops, resets, handshakes := NewDNSLookups(state), NewDNSLoops(state), NewResets(state, false), NewTLS(state)
	lookupOf := func(src netip.Addr, n int) {
		k := lookupKey{7, src, fmt.Sprint(n)}
		e := from(src, n)
		e.Body = event.DNS{Name: k.base, Type: "A", ClientNetns: 7}
		lookups.Observe(e)
	}
	state.resolvs.Put(event.OwnerOf(from(other, 0)), 7, event.ResolvConf{Search: []string{"a.example"}})
	refusal := func(src netip.Addr, n int) refusal {
		return refusal{Refusal: tls.Refusal{Client: netip.AddrPortFrom(src, 40000), Server: server(n)}, event: from(src, n)}
	}
	fill := func(src netip.Addr, n int) {
		e := from(src, n)
		pending.add(e, "drop", false)
		state.routes.Put(event.KeyOf(e).Owner(), routeKey{about: event.KeyOf(e)}, event.Route{Gateway: src})
		state.learnNetfilter(e, event.Netfilter{Op: event.NetfilterUntranslated})
		lookupOf(src, n)
		loops.loopOf(dnsLoopKey{7, fmt.Sprint(src, n), "A"}, e)
		resets.refusal(src, server(n), e)
		handshakes.agrees(meeting{src, server(n), ""}, e)
		x := refusal(src, n)
		handshakes.pending.Add(x.owner(), &x, 1)
		handshakes.early = nil
	}
	fill(other, flood)
	for n := range flood {
		fill(flooder, n)
	}
	e := from(other, flood)
	_, held := pending.held.Get(pendingKey{event.KeyOf(e), "drop"})
	_, route := state.route(e, false)
	_, nat := state.netfilterEvent(netfilterKeyOf(event.NetfilterUntranslated, e), nil)
	_, lookup := lookups.open.Get(lookupKey{7, other, fmt.Sprint(flood)})
	_, loop := loops.asked.Get(dnsLoopKey{7, fmt.Sprint(other, flood), "A"})
	_, refused := resets.refused.Get(server(flood))
	_, agreed := handshakes.agreed.Get(meeting{other, server(flood), ""})
	waits := false
	for x := range handshakes.pending.All() {
		waits = waits || x.Value.Client.Addr() == other
	}
	for what, kept := range map[string]bool{"pending drop": held, "route": route, "event of netfilter": nat, "lookup": lookup, "loop": loop,
		"refused server": refused, "handshake": agreed, "refusal": waits} {
		if !kept {
			t.Errorf("%s of another sender is forgotten", what)
		}
	}
	var s event.Summary
	lookups.Summarize(&s)
	handshakes.Summarize(&s)
	if len(s.Evicted) != 2 {
		t.Errorf("evictions are not reported: %v", s.Evicted)
	}
}

// TestAttackDropsThatWait: who tries many ports has that many drops wait for facts about each, and they are looked at fifty times
// a second. A look at one must not cost what was tried so far.
func TestAttackDropsThatWait(t *testing.T) {
	state := NewState()
	drops := NewDrops(state)
	start := time.Unix(1000, 0)
	for n := range maxPendingCauses {
		e := event.Event{
			Header: event.Header{Time: start, Netns: 7},
			Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Flags: "S", Src: netip.MustParseAddr("198.51.100.6"), Sport: 50000, Dst: netip.MustParseAddr("10.9.0.2"), Dport: uint16(1 + n)},
			Body:   event.Drop{Reason: "NETFILTER_DROP"},
		}
		state.Observe(e)
		drops.Observe(e)
	}
	if n := drops.pending.held.Len(); n != maxPendingCauses {
		t.Fatalf("%d drops wait, want %d", n, maxPendingCauses)
	}
	now := start.Add(factsWithin + time.Millisecond)
	if allocs := testing.AllocsPerRun(10, func() { drops.Flush(now, false) }); allocs > 100 {
		t.Errorf("a look at %d drops that wait takes %.0f allocations", maxPendingCauses, allocs)
	}
}
