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
	"ktrace/tracer/probe"
)

// TestAttackNumberOfANamespaceThatIsGone makes one namespace after the other until one has the inode number of one before: what
// the rules of one do must not be said of packets of another, neither of those that come later nor of those that are read late.
func TestAttackNumberOfANamespaceThatIsGone(t *testing.T) {
	t.Parallel()
	lan, w := lab.New(t), NewEnricher(observe(t))
	tr, err := tracer.Open(tracer.Options{
		Probes:  []string{probe.Path},
		Globals: []probe.Globals{probe.PathFilter{Hops: probe.UDP, Drops: probe.UDP, Snap: 512}, probe.Selection{Selecting: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	stream := &decoder.Stream{Frames: tr, Enrichers: []decoder.Enricher{kallsyms.NewSymbols(), w}}
	before := map[uint32]bool{} // whether a packet of who had the number before is read late, by the number
	attacked := map[bool]bool{} // so far, by that
	for i := 0; len(attacked) < 2; i++ {
		ns := lan.Namespace(fmt.Sprint("n", i))
		inode, own, late := ns.Inode(), fmt.Sprintf("of-%d-", i), i%4 >= 2
		if was, used := before[inode]; used {
			attacked[was] = true
		}
		before[inode] = late
		if err := tr.Map(probe.Path, "sel_netns").Put(inode, uint8(1)); err != nil {
			t.Fatal(err)
		}
		blockEcho(ns, own)
		sendEcho(ns, readAtOnce)
		for own != "" { // what the packets that are read late were dropped by comes first
			rules, said := nextRules(t, stream)
			switch {
			case rules.About.Src.Port() == readAtOnce:
				if !strings.Contains(said, own) || strings.Count(said, "of-") != strings.Count(said, own) {
					t.Errorf("packet of namespace %d (%d): %s", i, inode, said)
				}
				own = ""
			case strings.Contains(said, own):
				t.Errorf("packet of the namespace before %d (%d): %s", i, inode, said)
			}
		}
		if late {
			sendEcho(ns, readLate)
		}
		lan.Remove(ns)
	}
}

// Source ports of packets by when they are read.
const (
	readAtOnce = 4000
	readLate   = 4001 // when their namespace is gone
)

// blockEcho has the namespace drop what it sends to the echo service.
func blockEcho(ns *lab.NS, comment string) {
	ns.Run("nft", fmt.Sprintf(`table inet t { chain c { type filter hook output priority 0; udp dport 7 counter drop comment "%s"; }; }`, comment))
}

// sendEcho sends a datagram, of the same flow each time.
func sendEcho(ns *lab.NS, from int) {
	ns.Do(func() {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: from})
		if err == nil {
			_, _ = conn.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}) // refused by the rule
			_ = conn.Close()
		}
	})
}

// nextRules returns the next fact about the rules that may have dropped a packet, also as JSON.
func nextRules(t *testing.T, stream *decoder.Stream) (event.DropRules, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		e, err := stream.Next(ctx)
		if err != nil {
			t.Fatal(errors.Join(err, ctx.Err()))
		}
		if f, ok := e.Body.(event.Fact); ok && f.DropRules != nil {
			return *f.DropRules, f.Summary()
		}
	}
}
