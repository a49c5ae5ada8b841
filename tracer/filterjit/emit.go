// SPDX-License-Identifier: Apache-2.0

package filterjit

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/asm"

	"ktrace/decoder/pcapfilter"
)

// Registers that keep their value from the prologue to the end.
const (
	regPacket = asm.R6 // context (TC) or address of the packet
	regHead   = asm.R7 // bytes that are in the head window
	regLayer4 = asm.R8 // bytes that are in the transport window
	regLength = asm.R9 // bytes that the packet has
)

// Bounds. Both windows are as large as the filter needs, up to here: what lies farther is read by calls of its own.
const (
	maxLayer4  = 40     // bytes of the transport window
	maxProgram = 30_000 // instructions: the offset of a jump has 16 bits
)

// bounds are those that a form has: what calls it has its share of the 512 bytes of stack too.
type bounds struct {
	head  uint32 // bytes of the head window
	temps int    // operands that wait while others are computed
}

// ErrTooComplex is returned for an expression that makes more code than the kernel takes.
var ErrTooComplex = errors.New("filter is too complex for the kernel: use a shorter one")

// form is what differs between packets in TC and packets in tracing programs.
type form interface {
	link() pcapfilter.LinkType
	bounds() bounds
	// misalignment is how far off a multiple of 4 the network header is.
	misalignment() int16
	// prologue keeps the arguments and sets regPacket and regLength.
	prologue(e *emitter)
	// fillHead copies the first regHead bytes, one at least, to the head window; it may jump to filled.
	fillHead(e *emitter, filled string)
	// copy copies to the stack at dst the bytes at offset R2, which are there, their number in R4.
	copy(e *emitter, dst int16)
	// beside loads a value that travels beside the packet into R0.
	beside(e *emitter, s pcapfilter.Source)
}

// emitter makes the body of one stub.
type emitter struct {
	form
	program *pcapfilter.Program
	stub    string
	out     asm.Instructions
	label   string // of the next instruction
	labels  int
	used    map[string]bool // labels that something jumps to
	stack   int16           // bytes in use

	head, layer4 window
	windows      int16   // bytes of the stack that the windows take, at its top
	scratch      int16   // stack slot of a field that is read on its own
	temps        []int16 // stack slots of operands that wait
	state        state
	err          error
}

// window is a part of the packet that is kept on the stack.
type window struct {
	at   int16  // offset of its first byte from the frame pointer
	from uint32 // the offset that this byte has in the packet, or behind the IPv4 header
	size uint32
}

// state is what is known on every way to a place in the program.
type state struct {
	head   uint32 // bytes of the head window that are known to be there
	net    int64  // offset of the IPv4 header that the transport window was filled behind, -1 for none
	layer4 uint32 // bytes of the transport window that are known to be there
}

func meet(a, b state) state {
	s := state{head: min(a.head, b.head), net: a.net, layer4: min(a.layer4, b.layer4)}
	if a.net != b.net {
		s.net = -1
	}
	return s
}

// body makes the instructions of a stub.
func body(p *pcapfilter.Program, f form, stub string) (asm.Instructions, error) {
	e := &emitter{form: f, program: p, stub: stub, used: map[string]bool{}}
	e.target(p.Start)
	e.layout()
	if p.Start >= 0 {
		e.start()
		e.blocks()
	}
	e.verdict(pcapfilter.Accept, 1)
	e.verdict(pcapfilter.Reject, 0)
	if e.err == nil && len(e.out) > maxProgram {
		e.err = ErrTooComplex
	}
	return e.out, e.err
}

// add appends instructions, the first with the label that is waiting.
func (e *emitter) add(ins ...asm.Instruction) {
	if e.label != "" && len(ins) > 0 {
		ins[0] = ins[0].WithSymbol(e.label)
		e.label = ""
	}
	e.out = append(e.out, ins...)
}

// place puts a label at the next instruction. Two labels at one place need an instruction between them.
func (e *emitter) place(label string) {
	if e.label != "" {
		e.add(asm.Mov.Reg(regLength, regLength))
	}
	e.label = label
}

func (e *emitter) name(s string) string { return e.stub + "." + s }

func (e *emitter) newLabel() string {
	e.labels++
	return e.name(fmt.Sprintf("l%d", e.labels))
}

// target names the place that an edge of the graph leads to, for a jump there.
func (e *emitter) target(to int) string {
	label := e.name(fmt.Sprintf("b%d", to))
	e.used[label] = true
	return label
}

func (e *emitter) reject() string { return e.target(pcapfilter.Reject) }

// slot takes bytes of the stack, in units of 8.
func (e *emitter) slot(bytes uint32) int16 {
	e.stack += int16(bytes+7) &^ 7
	return -e.stack
}

// layout gives windows and slots their places, as large as the program needs them.
func (e *emitter) layout() {
	first, last, most := uint32(maxLayer4), uint32(0), e.bounds().head
	for _, v := range e.program.Fields() {
		end := v.Off + uint32(v.Size)
		switch {
		case v.Source == pcapfilter.Fixed && v.Off < most && end <= most:
			e.head.size = max(e.head.size, end)
		case v.Source == pcapfilter.Transport:
			e.head.size = max(e.head.size, min(v.Net+1, most))
			if v.Off < maxLayer4 && end <= maxLayer4 {
				first, last = min(first, v.Off&^3), max(last, end)
			}
		}
	}
	if e.program.VLAN && e.link() == pcapfilter.LinkEthernet {
		e.head.size = max(e.head.size, tagEnd+4)
	}
	if e.head.size > 0 {
		e.head.at = e.slot(e.head.size+uint32(e.misalignment())) + e.misalignment()
	}
	if last > 0 {
		e.layer4 = window{from: first, size: last - first}
		e.layer4.at = e.slot(e.layer4.size)
	}
	e.windows = e.stack
	e.scratch = e.slot(8)
}

// start keeps the arguments and fills the head window.
func (e *emitter) start() {
	e.prologue(e)
	// For a helper with a variable size the verifier wants all bytes that it may write to be initialised.
	e.add(asm.Mov.Imm(asm.R0, 0))
	for at := -e.windows; at < 0; at += 8 {
		e.add(asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord))
	}
	e.state.net = -1
	if e.head.size == 0 {
		return
	}
	e.add(asm.Mov.Reg(regHead, regLength))
	e.limit(regHead, e.head.size)
	filled := e.newLabel()
	e.add(asm.JLT.Imm(regHead, 1, filled))
	e.fillHead(e, filled)
	e.place(filled)
}

// limit lowers a register to at most n.
func (e *emitter) limit(reg asm.Register, n uint32) {
	below := e.newLabel()
	e.add(asm.JLE.Imm(reg, int32(n), below), asm.Mov.Imm(reg, int32(n)))
	e.place(below)
}

// jumps are the instructions for a comparison and for its opposite.
var jumps = [...]struct{ holds, fails asm.JumpOp }{
	pcapfilter.Equal:        {asm.JEq, asm.JNE},
	pcapfilter.Greater:      {asm.JGT, asm.JLE},
	pcapfilter.GreaterEqual: {asm.JGE, asm.JLT},
}

// blocks emits the comparisons. What is known at a block is what is known on every edge to it.
func (e *emitter) blocks() {
	known := make([]state, len(e.program.Blocks))
	reached := make([]bool, len(e.program.Blocks))
	known[0], reached[0] = e.state, true
	for i, b := range e.program.Blocks {
		e.state = known[i]
		e.place(e.target(i))
		e.value(b.Value)
		j := jumps[b.Op]
		if b.Then == i+1 {
			e.add(j.fails.Imm32(asm.R0, int32(b.Arg), e.target(b.Else)))
		} else {
			e.add(j.holds.Imm32(asm.R0, int32(b.Arg), e.target(b.Then)))
			if b.Else != i+1 {
				e.add(asm.Ja.Label(e.target(b.Else)))
			}
		}
		for _, to := range []int{b.Then, b.Else} {
			if to < 0 {
				continue
			}
			if reached[to] {
				known[to] = meet(known[to], e.state)
			} else {
				known[to], reached[to] = e.state, true
			}
		}
	}
}

// verdict emits an end of the program, if anything leads there: the verifier takes no dead code.
func (e *emitter) verdict(to int, pass int32) {
	if label := e.name(fmt.Sprintf("b%d", to)); e.used[label] {
		e.place(label)
		e.add(asm.Mov.Imm(asm.R0, pass), asm.Return())
	}
}
