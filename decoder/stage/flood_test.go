// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// sentBy is a SYN of a sender to one of many servers.
func sentBy(src string, n int, body event.Body) event.Event {
	at := netip.AddrPortFrom(netip.MustParseAddr(src), uint16(1+n%60000))
	return event.Event{
		Header: event.Header{Netns: 7, Direction: event.In, Time: time.Unix(1000, 0)},
		Packet: packet.OfFlow("tcp", packet.FlowTuple{Src: at, Dst: netip.MustParseAddrPort("10.0.0.1:80")}, "S"),
		Body:   body,
	}
}

const flooder, innocent = "10.244.1.66", "10.244.1.2"

// TestAttackSYNsOfOneSender: those of another at the same listener are still known when its queue overflows.
func TestAttackSYNsOfOneSender(t *testing.T) {
	o := NewOverflows()
	o.Observe(sentBy(innocent, 1, event.Hop{}))
	for n := range 3 * maxLostSYNs {
		o.Observe(sentBy(flooder, n, event.Hop{}))
	}
	o.Observe(event.Event{Body: event.Fact{Netstat: &event.Netstat{Netns: 7, Rose: map[string]uint64{"TcpExtListenOverflows": 1}}}})
	listener := event.Event{Header: event.Header{Time: time.Unix(1000, 0)}, Body: event.Fact{Socket: &event.Socket{
		About: event.LookupKey{Netns: 7}, Found: true, Local: netip.MustParseAddrPort("10.0.0.1:80"), State: "LISTEN", Queue: 2, Limit: 1}}}
	for _, e := range o.Observe(listener) {
		if e.Packet != nil && e.Packet.Src.String() == innocent {
			return
		}
	}
	t.Error("the SYN of another sender is forgotten")
}

// TestAttackDropsOfOneSender: those of another wait for the hook's verdict as long as they may.
func TestAttackDropsOfOneSender(t *testing.T) {
	x := NewDrops()
	x.Observe(event.Event{Body: event.Fact{Node: &event.Node{Verdicts: true}}})
	dropped := event.Drop{Reason: "NETFILTER_DROP"}
	x.Observe(sentBy(innocent, 1, dropped))
	early := 0
	for n := range 3 * maxWaiting {
		for _, e := range x.Observe(sentBy(flooder, n, dropped)) {
			if early++; e.Packet.Src.String() == innocent {
				t.Fatal("the drop of another sender does not wait")
			}
		}
	}
	var s event.Summary
	x.Summarize(&s)
	if early == 0 || s.Evicted["drops without the hook's verdict"] != uint64(early) {
		t.Errorf("%d did not wait: %v", early, s.Evicted)
	}
}
