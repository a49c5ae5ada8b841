// SPDX-License-Identifier: Apache-2.0

package pcapfilter

// Where an edge of the graph ends when it does not lead to another block.
const (
	Accept = -1
	Reject = -2
)

// Program is a compiled filter: a graph of comparisons. Blocks[Start] is tested first, and the edges of every
// block lead to a later one, Accept or Reject, so that a program always ends. Reading a byte that
// was not captured, and dividing by zero, rejects the packet.
type Program struct {
	Link   LinkType
	VLAN   bool // the expression asks for VLAN tags
	Start  int  // 0, Accept or Reject
	Blocks []Block

	code []instruction // what Match runs
}

// Block tests one value of the packet and goes on to Then or Else.
type Block struct {
	Test
	Then, Else int
}

// Test compares a value with a constant. All numbers are unsigned and 32 bits wide.
type Test struct {
	Value Value
	Op    Op
	Arg   uint32
}

// Op is a comparison.
type Op uint8

// The comparisons: value = argument, value > argument, value >= argument.
const (
	Equal Op = iota
	Greater
	GreaterEqual
)

func (o Op) holds(a, b uint32) bool {
	switch o {
	case Equal:
		return a == b
	case Greater:
		return a > b
	}
	return a >= b
}

// Source says where a value comes from.
type Source uint8

const (
	// Fixed is the big-endian field of Size bytes at offset Off of the packet.
	Fixed Source = iota
	// Transport is such a field at offset Off behind the IPv4 header that starts at Net.
	Transport
	// Length is the length of the packet on the wire.
	Length
	// Protocol is the EtherType of a LinkNetwork packet.
	Protocol
	// Tag is the VLAN tag that a LinkNetwork packet carries beside its bytes: bits 0-15 its TCI, bit 16 set if there is one.
	Tag
	// Way is the Direction of the packet.
	Way
	// Interface is the number of the interface.
	Interface
	// Computed is the result of Expr.
	Computed
)

// Value is a number read from the packet: a field, masked, or the result of an expression.
type Value struct {
	Source Source
	Size   uint8  // 1, 2 or 4 bytes; valid for Fixed and Transport
	Net    uint32 // offset of the IPv4 header; valid for Transport
	Off    uint32 // valid for Fixed and Transport, where it may wrap below 0
	Mask   uint32 // what is kept of the value
	Expr   *Arith // valid iff Source is Computed
}

// Arith is a node of an arithmetic expression over unsigned 32-bit numbers.
type Arith struct {
	Op          ArithOp
	Const       uint32 // valid for ArithConst
	Value       Value  // valid for ArithField and ArithIndex
	Left, Right *Arith
}

// ArithOp is what an Arith node does.
type ArithOp uint8

const (
	ArithConst ArithOp = iota
	// ArithField is Value.
	ArithField
	// ArithIndex is Value with Left added to its offset; for Transport the sum of Left and the IPv4 header
	// length wraps at 32 bits, as in BPF, and nothing else does.
	ArithIndex
	ArithNeg // of Left
	ArithAdd // Left and Right, from here on
	ArithSub
	ArithMul
	ArithDiv // rejects the packet when Right is 0
	ArithMod // likewise
	ArithAnd
	ArithOr
	ArithXor
	ArithLsh // 0 when Right is above 31
	ArithRsh // likewise
	ArithEqual
	ArithGreater
	ArithGreaterEqual // 1 if Left >= Right, else 0, as the two before it
)

// cond is a condition while it is being put together.
type cond struct {
	kind        condKind
	left, right *cond
	test        Test
}

type condKind uint8

const (
	condTest condKind = iota
	condAnd
	condOr
	condNot
	condTrue
	condFalse
)

func and(left, right *cond) *cond { return &cond{kind: condAnd, left: left, right: right} }
func or(left, right *cond) *cond  { return &cond{kind: condOr, left: left, right: right} }
func negate(of *cond) *cond       { return &cond{kind: condNot, left: of} }
func truth(t bool) *cond {
	if t {
		return &cond{kind: condTrue}
	}
	return &cond{kind: condFalse}
}

// test makes a condition of a comparison. A mask of nothing makes it a constant, as libpcap's optimizer does.
func test(v Value, op Op, arg uint32) *cond {
	if v.Mask == 0 && v.Source != Computed {
		return truth(op.holds(0, arg))
	}
	return &cond{test: Test{Value: v, Op: op, Arg: arg}}
}

// field is the value of size bytes at a fixed offset.
func field(off uint32, size uint8) Value {
	return Value{Source: Fixed, Off: off, Size: size, Mask: fullMask(size)}
}

func (v Value) masked(mask uint32) Value {
	v.Mask &= mask
	return v
}

func fullMask(size uint8) uint32 { return 0xffffffff >> (32 - 8*uint32(size)) }

// beside is a value that travels beside the packet's bytes.
func beside(s Source) Value { return Value{Source: s, Mask: 0xffffffff} }

// Fields returns every value that the program reads, also those within expressions; for an ArithIndex the
// value without its index.
func (p *Program) Fields() []Value {
	var out []Value
	for _, b := range p.Blocks {
		if b.Value.Source == Computed {
			out = b.Value.Expr.fields(out)
		} else {
			out = append(out, b.Value)
		}
	}
	return out
}

func (e *Arith) fields(out []Value) []Value {
	if e.Op == ArithField || e.Op == ArithIndex {
		out = append(out, e.Value)
	}
	for _, of := range []*Arith{e.Left, e.Right} {
		if of != nil {
			out = of.fields(out)
		}
	}
	return out
}
