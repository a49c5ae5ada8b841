// SPDX-License-Identifier: Apache-2.0

// Package reassembly puts the data of TCP segments in order. It knows no protocol above TCP.
package reassembly

import "slices"

// Stream is one direction of a connection (RFC 9293, 3.4). The zero value begins with the segment that comes first.
type Stream struct {
	next  uint32 // sequence number of the byte that comes next
	begun bool
	held  []Piece // that came early, in order
	bytes int     // of them
}

// Piece is data that follows what was returned before.
type Piece struct {
	Seq     uint32
	Data    []byte
	Missing int  // bytes behind Data that were not captured
	Lost    bool // bytes before it are missing, and it is not known how many messages began in them
}

// Limits of what is held while a segment is missing.
const (
	maxHeld   = 64 << 10 // bytes
	maxPieces = 64
	window    = 1 << 24 // a segment farther ahead is of another connection
)

func (p Piece) end() uint32 { return p.Seq + uint32(len(p.Data)+p.Missing) }

// Begin says what the first byte's sequence number is: one more than that of the SYN.
func (s *Stream) Begin(seq uint32) { *s = Stream{next: seq, begun: true} }

// Begun reports whether the first byte's sequence number is known.
func (s *Stream) Begun() bool { return s.begun }

// Held is how many bytes are kept that came early.
func (s *Stream) Held() int { return s.bytes }

// Waits reports whether something is missing before what is held.
func (s *Stream) Waits() bool { return len(s.held) > 0 }

// Add takes in a segment and returns what is in order now. What came before is left out. The pieces are valid until the
// caller's data is not.
func (s *Stream) Add(p Piece) []Piece {
	if !s.begun {
		s.Begin(p.Seq)
	}
	ahead := int32(p.Seq - s.next)
	switch {
	case ahead > window || ahead < -window:
		return nil
	case ahead > 0:
		return s.hold(p)
	}
	if p = p.from(s.next); len(p.Data)+p.Missing == 0 {
		return nil
	}
	s.next = p.end()
	return append([]Piece{p}, s.follow()...)
}

// from is the piece without what is before a sequence number.
func (p Piece) from(seq uint32) Piece {
	old := int(int32(seq - p.Seq))
	if old <= 0 {
		return p
	}
	if old >= len(p.Data)+p.Missing {
		return Piece{Seq: seq}
	}
	n := min(old, len(p.Data))
	return Piece{Seq: seq, Data: p.Data[n:], Missing: p.Missing - (old - n)}
}

// hold keeps what came early. If that is too much, what is missing is given up.
func (s *Stream) hold(p Piece) []Piece {
	i, there := slices.BinarySearchFunc(s.held, p.Seq, func(h Piece, seq uint32) int { return int(int32(h.Seq - seq)) })
	if there && len(s.held[i].Data) >= len(p.Data) {
		return nil
	}
	p.Data = slices.Clone(p.Data)
	s.held = slices.Insert(s.held, i, p)
	s.bytes += len(p.Data)
	var ready []Piece
	for s.bytes > maxHeld || len(s.held) > maxPieces {
		ready = append(ready, s.Skip()...)
	}
	return ready
}

// follow returns what of the held is in order now.
func (s *Stream) follow() []Piece {
	var ready []Piece
	n := 0
	for ; n < len(s.held) && int32(s.held[n].Seq-s.next) <= 0; n++ {
		s.bytes -= len(s.held[n].Data)
		if p := s.held[n].from(s.next); len(p.Data)+p.Missing > 0 {
			s.next = p.end()
			ready = append(ready, p)
		}
	}
	s.held = slices.Delete(s.held, 0, n)
	return ready
}

// Skip gives up what is missing, and returns what follows it.
func (s *Stream) Skip() []Piece {
	if len(s.held) == 0 {
		return nil
	}
	s.next = s.held[0].Seq
	ready := s.follow()
	if len(ready) > 0 {
		ready[0].Lost = true
	}
	return ready
}
