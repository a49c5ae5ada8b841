// SPDX-License-Identifier: Apache-2.0

package reassembly

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// joined is what pieces amount to, with a mark for what is missing.
func joined(pieces []Piece) string {
	var b bytes.Buffer
	for _, p := range pieces {
		if p.Lost {
			b.WriteByte('|')
		}
		b.Write(p.Data)
		b.Write(bytes.Repeat([]byte{'.'}, p.Missing))
	}
	return b.String()
}

func TestStreamPutsSegmentsInOrder(t *testing.T) {
	at := func(seq uint32, data string) Piece { return Piece{Seq: seq, Data: []byte(data)} }
	const end = 1<<32 - 2 // sequence numbers begin again behind the highest
	for _, c := range []struct {
		name string
		in   []Piece
		want string
	}{
		{"in order", []Piece{at(1, "ab"), at(3, "cd")}, "abcd"},
		{"one comes early", []Piece{at(1, "ab"), at(5, "ef"), at(3, "cd")}, "abcdef"},
		{"one comes again", []Piece{at(1, "ab"), at(1, "ab"), at(3, "cd"), at(1, "ab")}, "abcd"},
		{"again and longer", []Piece{at(1, "ab"), at(1, "abcd"), at(3, "cdef")}, "abcdef"},
		{"two early ones overlap", []Piece{at(1, "a"), at(4, "def"), at(3, "cd"), at(2, "b")}, "abcdef"},
		{"an early one comes again, longer", []Piece{at(1, "a"), at(3, "c"), at(3, "cd"), at(2, "b")}, "abcd"},
		{"numbers begin again", []Piece{at(end, "ab"), at(2, "ef"), at(0, "cd")}, "abcdef"},
		{"not all was captured", []Piece{{Seq: 1, Data: []byte("ab"), Missing: 3}, at(6, "f"), {Seq: 7, Missing: 1}}, "ab...f."},
		{"of another connection", []Piece{at(1, "ab"), at(1<<30, "x"), at(3, "cd")}, "abcd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Stream
			var got []Piece
			for _, p := range c.in {
				got = append(got, s.Add(p)...)
			}
			if joined(got) != c.want || s.Held() != 0 || s.Waits() {
				t.Errorf("got %q, want %q; %d bytes are held", joined(got), c.want, s.Held())
			}
		})
	}
}

func TestStreamGivesUpWhatNeverComes(t *testing.T) {
	var s Stream
	s.Begin(1)
	got := joined(s.Add(Piece{Seq: 3, Data: []byte("cd")}))
	if got += joined(s.Skip()) + joined(s.Add(Piece{Seq: 5, Data: []byte("ef")})); got != "|cdef" {
		t.Errorf("got %q", got)
	}
	for i := range uint32(1000) { // every other byte
		s.Add(Piece{Seq: 10 + 2*i, Data: []byte("x")})
		if len(s.held) > maxPieces {
			t.Fatalf("%d pieces are held", len(s.held))
		}
	}
	for i := range uint32(100) {
		s.Add(Piece{Seq: 1 << 20 * (i + 1) / 8, Data: make([]byte, 9000)})
		if s.Held() > maxHeld {
			t.Fatalf("%d bytes are held", s.Held())
		}
	}
}

// FuzzStream cuts data into segments that overlap, and sends them in any order.
func FuzzStream(f *testing.F) {
	f.Add(uint64(1), uint32(0), []byte("some data that goes by"))
	f.Add(uint64(2), uint32(1<<32-5), bytes.Repeat([]byte{7}, 200))
	f.Fuzz(func(t *testing.T, seed uint64, isn uint32, data []byte) {
		data = data[:min(len(data), 4096)]
		r := rand.New(rand.NewPCG(seed, 0))
		var parts []Piece
		for at := 0; at < len(data); {
			end := min(at+1+r.IntN(1+len(data)/16), len(data))
			from := max(0, at-r.IntN(4))
			parts = append(parts, Piece{Seq: isn + uint32(from), Data: data[from:end]})
			at = end
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var s Stream
		s.Begin(isn)
		var got []byte
		for _, p := range parts {
			for _, ready := range s.Add(p) {
				if ready.Lost {
					t.Fatal("claims that something is lost")
				}
				got = append(got, ready.Data...)
			}
		}
		if !bytes.Equal(got, data) || s.Held() != 0 {
			t.Errorf("got %d bytes, want %d; %d held", len(got), len(data), s.Held())
		}
	})
}
