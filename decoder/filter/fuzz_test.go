package filter_test

import (
	"errors"
	"slices"
	"testing"

	"ktrace/decoder/filter"
	"ktrace/decoder/filter/filtertest"
)

// FuzzParse: no expression panics, and every error has a column within the expression or just behind it.
func FuzzParse(f *testing.F) {
	for _, expr := range filtertest.Expressions() {
		f.Add(expr)
	}
	pkt := filter.Packet{Data: make([]byte, 60), Length: 60}
	f.Fuzz(func(t *testing.T, expr string) {
		e, err := filter.Parse(expr)
		if err != nil {
			var fe *filter.Error
			if !errors.As(err, &fe) || fe.Column < 1 || fe.Column > len(expr)+1 {
				t.Fatalf("%q: error %v has no column within", expr, err)
			}
			fe.Point()
			return
		}
		for _, link := range []filter.LinkType{filter.LinkEthernet, filter.LinkRaw, filter.LinkNetwork} {
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
	var programs []*filter.Program
	for _, expr := range filtertest.Expressions() {
		e, err := filter.Parse(expr)
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
			pkt := filter.Packet{Data: data, Length: max(length, len(data))}
			want := filter.No
			if p.Match(pkt) {
				want = filter.Yes
			}
			if got := p.Decide(filter.Partial{Packet: pkt}); got != want && (got != filter.Unknown || pkt.Length == len(data)) {
				t.Fatalf("%x: %d, Match says %d", data, got, want)
			}
			part := filter.Partial{Packet: pkt, Known: slices.Repeat([]byte{0xf0}, len(data)), Bare: length%2 == 0}
			if got := p.Decide(part); got != want && got != filter.Unknown && pkt.Length == len(data) {
				t.Fatalf("%x, known in part: %d, Match says %d", data, got, want)
			}
		}
	})
}
