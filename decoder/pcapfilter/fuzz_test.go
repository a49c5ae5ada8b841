// SPDX-License-Identifier: Apache-2.0

package pcapfilter_test

import (
	"errors"
	"slices"
	"testing"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
)

// FuzzParse: no expression panics, and every error has a column within the expression or just behind it.
func FuzzParse(f *testing.F) {
	for _, expr := range filtertest.Expressions() {
		f.Add(expr)
	}
	pkt := pcapfilter.Packet{Data: make([]byte, 60), Length: 60}
	f.Fuzz(func(t *testing.T, expr string) {
		e, err := pcapfilter.Parse(expr)
		if err != nil {
			var fe *pcapfilter.Error
			if !errors.As(err, &fe) || fe.Column < 1 || fe.Column > len(expr)+1 {
				t.Fatalf("%q: error %v has no column within", expr, err)
			}
			fe.Point()
			return
		}
		for _, link := range []pcapfilter.LinkType{pcapfilter.LinkEthernet, pcapfilter.LinkRaw, pcapfilter.LinkNetwork} {
			if p, err := e.Compile(link); err == nil {
				p.Match(pkt)
			}
		}
	})
}

// FuzzMatch: no packet panics, and of a packet that is all known Decide says the same; of one that is known in part it
// contradicts nothing.
func FuzzMatch(f *testing.F) {
	for _, p := range filtertest.Packets() {
		f.Add(p.Data, len(p.Data))
	}
	var programs []*pcapfilter.Program
	for _, expr := range filtertest.Expressions() {
		e, err := pcapfilter.Parse(expr)
		if err != nil {
			f.Fatal(err)
		}
		for _, l := range links {
			if p, err := e.Compile(l.link); err == nil {
				programs = append(programs, p)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, length int) {
		for _, p := range programs {
			pkt := pcapfilter.Packet{Data: data, Length: max(length, len(data))}
			want := pcapfilter.No
			if p.Match(pkt) {
				want = pcapfilter.Yes
			}
			if got := p.Decide(pcapfilter.Partial{Packet: pkt}); got != want && (got != pcapfilter.Unknown || pkt.Length == len(data)) {
				t.Fatalf("%x: %d, Match says %d", data, got, want)
			}
			part := pcapfilter.Partial{Packet: pkt, Known: slices.Repeat([]byte{0xf0}, len(data)), Bare: length%2 == 0}
			if got := p.Decide(part); got != want && got != pcapfilter.Unknown && pkt.Length == len(data) {
				t.Fatalf("%x, known in part: %d, Match says %d", data, got, want)
			}
		}
	})
}
