// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import "encoding/binary"

// Verdict is what can be said of a packet that is known in part.
type Verdict uint8

// The verdicts. Unknown is that of a packet about which the program asks for what is not known.
const (
	No Verdict = iota
	Yes
	Unknown
)

// Partial is a packet that is known in part. Bytes behind Data, up to Length, are there but not known.
type Partial struct {
	Packet
	Known []byte // bits of Data that are known; nil: all
	Bare  bool   // no more is known than Data and Protocol: not where it was seen, nor how long it is
}

// Decide is Match for a packet that is known in part. It tries both ways where a comparison cannot be made, so that Yes
// and No are certain.
func (p *Program) Decide(pkt Partial) Verdict {
	if p.Start < 0 {
		return verdictOf(p.Start == Accept, p.Start == Reject)
	}
	var accept, reject bool
	reached := make([]bool, len(p.Blocks))
	reach := func(to int) {
		switch to {
		case Accept:
			accept = true
		case Reject:
			reject = true
		default:
			reached[to] = true
		}
	}
	reach(p.Start)
	for i, b := range p.Blocks { // edges lead forward
		if !reached[i] {
			continue
		}
		v, certainty := pkt.value(b.Value, 0)
		switch {
		case certainty == absent:
			reach(Reject)
		case certainty == open:
			reach(Reject)
			reach(b.Then)
			reach(b.Else)
		case b.Op.holds(v, b.Arg):
			reach(b.Then)
		default:
			reach(b.Else)
		}
	}
	return verdictOf(accept, reject)
}

func verdictOf(accept, reject bool) Verdict {
	switch {
	case accept && reject:
		return Unknown
	case accept:
		return Yes
	}
	return No
}

// certainty is what is known of a value.
type certainty uint8

const (
	known  certainty = iota
	open             // it may be anything, or not be there
	absent           // the packet ends before it, or it cannot be computed
)

// value reads what a block compares, its offset raised by index.
func (p *Partial) value(v Value, index uint32) (uint32, certainty) {
	switch v.Source {
	case Computed:
		return p.compute(v.Expr)
	case Fixed:
		return p.field(v, uint64(v.Off)+uint64(index))
	case Transport:
		head, c := p.field(Value{Size: 1, Mask: 0xf}, uint64(v.Net))
		if c != known {
			return 0, c
		}
		return p.field(v, uint64(v.Net)+uint64(v.Off+index+head*4))
	case Protocol:
	default:
		if p.Bare {
			return 0, open
		}
	}
	return p.beside(v.Source) & v.Mask, known
}

// field reads the bytes at an offset.
func (p *Partial) field(v Value, off uint64) (uint32, certainty) {
	end := off + uint64(v.Size)
	switch {
	case !p.Bare && end > uint64(p.Length) && end > uint64(len(p.Data)):
		return 0, absent
	case end > uint64(len(p.Data)):
		return 0, open
	case p.Known != nil && v.Mask&^bigEndian(p.Known[off:end]) != 0:
		return 0, open
	}
	return bigEndian(p.Data[off:end]) & v.Mask, known
}

// bigEndian reads 1, 2 or 4 bytes.
func bigEndian(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.BigEndian.Uint16(b))
	}
	return binary.BigEndian.Uint32(b)
}

// compute is eval for a packet that is known in part.
func (p *Partial) compute(e *Arith) (uint32, certainty) {
	switch e.Op {
	case ArithConst:
		return e.Const, known
	case ArithField:
		return p.value(e.Value, 0)
	}
	left, c := p.compute(e.Left)
	if c != known {
		return 0, c
	}
	if e.Op == ArithIndex {
		return p.value(e.Value, left)
	}
	var right uint32
	if e.Right != nil {
		if right, c = p.compute(e.Right); c != known {
			return 0, c
		}
	}
	v, ok := calculate(e.Op, left, right)
	if !ok {
		return 0, absent
	}
	return v, known
}
