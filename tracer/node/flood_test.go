// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestAttackLookupsOfOneSender: a scan that a rule drops raises more lookups than may wait. Another sender's are made, and soon.
func TestAttackLookupsOfOneSender(t *testing.T) {
	w := NewEnricher(observe(t))
	dropped := func(src string, n int) event.Event {
		return event.Event{
			Header: event.Header{Netns: 1},
			Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: netip.MustParseAddr(src), Dst: netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), Dport: 53},
			Body:   event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"},
		}
	}
	w.seen.Put(1, true)
	w.free = time.Now().Add(time.Hour) // its share of time is spent
	for n := range 2 * maxPending {
		w.Enrich(dropped("10.244.1.66", n))
	}
	other := dropped("10.244.1.2", 0)
	begun := w.Enrich(other)
	var over int
	for n := range 2 * maxPending {
		for _, f := range w.Enrich(dropped("10.244.1.66", n)) {
			if f.Deferred != nil && f.Deferred.Over {
				over++
			}
		}
	}
	place := -1
	for i, k := range w.openQuestions() {
		if k == (asked{dropRules, event.KeyOf(other)}) {
			place = i
		}
	}
	if len(begun) == 0 || place < 0 || place > 2*len(table()[0].facts) {
		t.Errorf("another sender's lookup is deferred by %d facts and made as number %d of %d", len(begun), place, w.pending.Len())
	}
	var s event.Summary
	if w.Summarize(&s); s.Evicted["lookups on the node"] == 0 || over == 0 {
		t.Errorf("lookups that are given up: %v, %d are said to be over", s.Evicted, over)
	}
}

// TestAttackManyNamespaces: of those that a user makes, the ones where nothing happens go first.
func TestAttackManyNamespaces(t *testing.T) {
	o := observe(t)
	for i := range uint32(maxNetns) {
		o.states[i] = &netnsState{reader: o, inode: i}
	}
	o.states[7].troubled = time.Now()
	if o.makeRoom(); o.states[7] == nil || len(o.states) != maxNetns/2 || o.out != maxNetns/2 {
		t.Errorf("%d are kept, %d were forgotten, among them the one that matters: %t", len(o.states), o.out, o.states[7] == nil)
	}
}
