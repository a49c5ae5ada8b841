// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"bytes"
	"math/bits"
	"slices"
)

// Fit is whether a packet fits, in three values; the lesser of two is that of both together.
type Fit uint8

// Fits.
const (
	No Fit = iota
	Maybe
	Yes
)

// String is how facts write it.
func (f Fit) String() string { return [...]string{"no", "maybe", "yes"}[f] }

// not turns a fit around; what cannot be decided stays so.
func (f Fit) not() Fit { return Yes - f }

// Field is what of a packet a match looks at.
type Field uint8

// Fields. Values are in network order, whatever the kernel keeps; names of devices have 16 bytes.
const (
	Other   Field = iota // something that the packet's headers do not have
	Always               // fits every packet: a counter, a log
	Comment              // as Always
	SrcAddr
	DstAddr
	SrcPort
	DstPort
	EitherPort
	Proto
	NFProto
	EtherType
	InName
	OutName
	TCPFlags
	ICMPType
	ICMPCode
	CTState
	Mark
	Length
	TTL
	Fragment
)

// Match is one condition. The packet's field, with Mask applied, must lie in one of the ranges of Values, or be in
// Set; Invert turns that around. For CTState any bit of the first value suffices.
type Match struct {
	Field  Field
	Invert bool
	Width  uint8  // bytes of one bound of Values
	Module string // of iptables: -m Module
	Text   string // of Other, Always and Comment; else how nft calls the field
	Mask   []byte // nil is all ones
	Values []byte // pairs lo, hi
	Set    *Set   // instead of Values
	Parts  []Part // of the key that is looked up in Set
}

// Part is one field of a concatenated key.
type Part struct {
	Field Field
	Text  string
	Mask  []byte
	Len   int  // bytes, without padding
	Host  bool // the set keeps it in the order of the CPU
}

// Fit reports whether the packet fits.
func (m *Match) Fit(p *Packet) Fit {
	switch {
	case m.Field == Always || m.Field == Comment:
		return Yes
	case m.Set != nil:
		return m.turned(m.lookup(p, nil))
	case m.Field == EitherPort:
		src, dst := m.compare(p, SrcPort), m.compare(p, DstPort)
		return m.turned(max(src, dst))
	}
	return m.turned(m.compare(p, m.Field))
}

func (m *Match) turned(f Fit) Fit {
	if m.Invert {
		return f.not()
	}
	return f
}

func (m *Match) compare(p *Packet, f Field) Fit {
	v, fit := p.value(f)
	if fit != Yes {
		return fit
	}
	w := int(m.Width)
	if w == 0 || len(m.Values) < 2*w {
		return Maybe
	}
	if len(v) > w { // a prefix of the name of a device, the network part of an address
		v = v[:w]
	}
	if f == CTState {
		return anyBit(v, m.Values[:w])
	}
	v = masked(v, m.Mask)
	for at := 0; at+2*w <= len(m.Values); at += 2 * w {
		if within(v, m.Values[at:at+w], m.Values[at+w:at+2*w]) {
			return Yes
		}
	}
	return No
}

// anyBit is whether one of the states that the packet may be in is wanted.
func anyBit(may, want []byte) Fit {
	wanted, others := false, false
	for i := range min(len(may), len(want)) {
		wanted = wanted || may[i]&want[i] != 0
		others = others || may[i]&^want[i] != 0
	}
	switch {
	case !wanted:
		return No
	case others:
		return Maybe
	}
	return Yes
}

func within(v, lo, hi []byte) bool { return bytes.Compare(v, lo) >= 0 && bytes.Compare(v, hi) <= 0 }

func masked(v, mask []byte) []byte {
	if mask == nil {
		return v
	}
	out := make([]byte, len(v))
	for i := range min(len(v), len(mask)) {
		out[i] = v[i] & mask[i]
	}
	return out
}

// lookup finds the best fit among the elements of the set. each, if not nil, is called with every element that may fit.
func (m *Match) lookup(p *Packet, each func(*Element, Fit)) Fit {
	if !m.Set.Loaded {
		return Maybe
	}
	key := make([]keyPart, 0, len(m.Parts))
	for _, part := range m.Parts {
		v, fit := p.value(part.Field)
		if fit == No {
			return No
		}
		if part.Field == CTState && fit == Yes && bits.OnesCount32(p.State) > 1 {
			fit = Maybe
		}
		if fit == Yes {
			v = masked(v, part.Mask)
			if len(v) > part.Len {
				v = v[:part.Len]
			}
			if part.Host {
				v = reversed(v)
			}
		}
		key = append(key, keyPart{value: v, fit: fit, length: part.Len})
	}
	best := No
	for i := range m.Set.Elements {
		e := &m.Set.Elements[i]
		fit := e.fit(key)
		best = max(best, fit)
		if fit != No && each != nil {
			each(e, fit)
		}
	}
	return best
}

func reversed(v []byte) []byte {
	v = slices.Clone(v)
	slices.Reverse(v)
	return v
}

type keyPart struct {
	value  []byte
	fit    Fit
	length int
}

// fit compares part by part: each takes a whole number of 32-bit registers.
func (e *Element) fit(key []keyPart) Fit {
	fit, at := Yes, 0
	for _, k := range key {
		end := at + k.length
		if end > len(e.Lo) || end > len(e.Hi) {
			return Maybe
		}
		switch {
		case k.fit == Maybe:
			fit = Maybe
		case !within(k.value, e.Lo[at:end], e.Hi[at:end]):
			return No
		}
		at += (k.length + 3) &^ 3
	}
	return fit
}
