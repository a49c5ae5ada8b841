// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer"
	"ktrace/tracer/kallsyms"
)

// TestAttackNumberOfANamespaceThatIsGone has a namespace removed, and another made that gets its inode number: what the
// rules of one do must not be said of packets of the other, neither of those that come later nor of those that are read late.
func TestAttackNumberOfANamespaceThatIsGone(t *testing.T) {
	t.Parallel()
	lan := lab.New(t)
	first := lan.Namespace("first")
	inode := first.Inode()
	w := NewEnricher(observe(t))
	tr, err := tracer.Open(tracer.Options{
		Probes:  []string{tracer.PathProbe},
		Globals: []tracer.Globals{tracer.PathFilter{Hops: tracer.UDP, Drops: tracer.UDP, Snap: 512}, tracer.Selection{Selecting: true}},
		Prepare: func(m tracer.Maps) error { return m(tracer.PathProbe, "sel_netns").Put(inode, uint8(1)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	stream := &decoder.Stream{Frames: tr, Enrichers: []decoder.Enricher{kallsyms.NewSymbols(), w}}

	blockEcho(first, "of-the-first")
	sendEcho(first)
	rules := func(f event.Fact) bool { return f.DropRules != nil }
	if said := next(t, stream, rules); !strings.Contains(said, "of-the-first") {
		t.Errorf("first namespace: %s", said)
	}
	sendEcho(first) // not read before the namespace is gone
	time.Sleep(againAfter)
	second := lan.Replace(first)
	blockEcho(second, "of-the-second")
	failed := func(f event.Fact) bool { return f.LookupFailed != nil && f.LookupFailed.What == "rules" }
	if said := next(t, stream, func(f event.Fact) bool { return rules(f) || failed(f) }); strings.Contains(said, "of-the-second") {
		t.Errorf("packet of the first namespace: %s", said)
	}
	sendEcho(second)
	if said := next(t, stream, rules); !strings.Contains(said, "of-the-second") || strings.Contains(said, "of-the-first") {
		t.Errorf("packet of the second namespace: %s", said)
	}
}

// blockEcho has the namespace drop what it sends to the echo service.
func blockEcho(ns *lab.NS, comment string) {
	ns.Run("nft", fmt.Sprintf(`table inet t { chain c { type filter hook output priority 0; udp dport 7 counter drop comment "%s"; }; }`, comment))
}

// sendEcho sends a datagram of the same flow each time.
func sendEcho(ns *lab.NS) {
	ns.Do(func() {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4000})
		if err == nil {
			_, _ = conn.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}) // refused by the rule
			_ = conn.Close()
		}
	})
}

// next returns the next fact that is wanted, as JSON.
func next(t *testing.T, stream *decoder.Stream, wanted func(event.Fact) bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		e, err := stream.Next(ctx)
		if err != nil {
			t.Fatal(errors.Join(err, ctx.Err()))
		}
		if f, ok := e.Body.(event.Fact); ok && wanted(f) {
			return f.Summary()
		}
	}
}
