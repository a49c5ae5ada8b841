// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import "encoding/binary"

// Packet is what a filter is asked about.
type Packet struct {
	Data      []byte    // captured bytes, from the link header on (network header for LinkNetwork)
	Length    int       // on the wire, from the same place
	Interface uint32    // its number, where the capture knows one
	Direction Direction // where the capture knows it
	Protocol  uint16    // EtherType of the network header; valid for LinkNetwork
	Tag       uint16    // VLAN tag control information; valid for LinkNetwork if Tagged
	Tagged    bool      // the packet has a VLAN tag that is not among its bytes; valid for LinkNetwork
}

// Direction is the way of a packet at the interface where it was seen.
type Direction uint8

const (
	DirectionUnknown Direction = iota
	Inbound
	Outbound
)

// instruction is a Block made ready to run: everything in one cache line half, by a code that says all
// that has to be done.
type instruction struct {
	code       opcode
	op         Op
	net, off   uint32
	mask, arg  uint32
	then, els  int32
	expr       *Arith
	besideFrom Source
}

type opcode uint8

const (
	load1 opcode = iota
	load2
	load4
	transport1
	transport2
	transport4
	loadBeside
	compute
)

func assemble(blocks []Block) []instruction {
	widths := map[uint8]opcode{1: load1, 2: load2, 4: load4}
	code := make([]instruction, len(blocks))
	for i, b := range blocks {
		v := b.Value
		in := instruction{op: b.Op, net: v.Net, off: v.Off, mask: v.Mask, arg: b.Arg,
			then: int32(b.Then), els: int32(b.Else), expr: v.Expr, besideFrom: v.Source}
		switch v.Source {
		case Fixed:
			in.code = widths[v.Size]
		case Transport:
			in.code = widths[v.Size] + transport1
		case Computed:
			in.code = compute
		default:
			in.code = loadBeside
		}
		code[i] = in
	}
	return code
}

// Match reports whether a packet passes. It does not allocate, and may be called from many goroutines at once.
func (p *Program) Match(pkt Packet) bool {
	data := pkt.Data
	at := int32(p.Start)
	for at >= 0 {
		in := &p.code[at]
		var v uint32
		off := uint64(in.off)
		switch in.code {
		case transport1, transport2, transport4:
			if uint64(in.net) >= uint64(len(data)) {
				return false
			}
			off = uint64(in.net) + uint64(in.off+uint32(data[in.net]&0xf)*4)
		}
		switch in.code {
		case load1, transport1:
			if off >= uint64(len(data)) {
				return false
			}
			v = uint32(data[off])
		case load2, transport2:
			if off+2 > uint64(len(data)) {
				return false
			}
			v = uint32(binary.BigEndian.Uint16(data[off:]))
		case load4, transport4:
			if off+4 > uint64(len(data)) {
				return false
			}
			v = binary.BigEndian.Uint32(data[off:])
		case loadBeside:
			v = pkt.beside(in.besideFrom)
		default:
			var ok bool
			if v, ok = in.expr.eval(&pkt); !ok {
				return false
			}
		}
		v &= in.mask
		holds := v == in.arg
		switch in.op {
		case Greater:
			holds = v > in.arg
		case GreaterEqual:
			holds = v >= in.arg
		}
		if holds {
			at = in.then
		} else {
			at = in.els
		}
	}
	return at == Accept
}

// beside reads what travels beside a packet's bytes.
func (p *Packet) beside(s Source) uint32 {
	switch s {
	case Length:
		return uint32(p.Length)
	case Protocol:
		return uint32(p.Protocol)
	case Tag:
		if p.Tagged {
			return tagPresent | uint32(p.Tag)
		}
		return 0
	case Way:
		return uint32(p.Direction)
	}
	return p.Interface
}

// eval computes an expression; it is false where the packet has to be rejected.
func (e *Arith) eval(pkt *Packet) (uint32, bool) {
	switch e.Op {
	case ArithConst:
		return e.Const, true
	case ArithField:
		return e.Value.read(pkt, 0)
	}
	left, ok := e.Left.eval(pkt)
	if !ok {
		return 0, false
	}
	if e.Op == ArithIndex {
		return e.Value.read(pkt, left)
	}
	var right uint32
	if e.Right != nil {
		if right, ok = e.Right.eval(pkt); !ok {
			return 0, false
		}
	}
	return calculate(e.Op, left, right)
}

// read reads a field whose offset has index added to it.
func (v Value) read(pkt *Packet, index uint32) (uint32, bool) {
	data := pkt.Data
	var off uint64
	switch v.Source {
	case Fixed:
		off = uint64(v.Off) + uint64(index)
	case Transport:
		if uint64(v.Net) >= uint64(len(data)) {
			return 0, false
		}
		off = uint64(v.Net) + uint64(v.Off+index+uint32(data[v.Net]&0xf)*4)
	default:
		return pkt.beside(v.Source) & v.Mask, true
	}
	if off+uint64(v.Size) > uint64(len(data)) {
		return 0, false
	}
	var n uint32
	for _, b := range data[off : off+uint64(v.Size)] {
		n = n<<8 | uint32(b)
	}
	return n & v.Mask, true
}
