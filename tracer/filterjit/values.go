// SPDX-License-Identifier: Apache-2.0

package filterjit

import (
	"github.com/cilium/ebpf/asm"

	"ktrace/decoder/pcapfilter"
)

// value leaves a value in R0. A packet that is too short for it is rejected.
func (e *emitter) value(v pcapfilter.Value) {
	full := uint32(0xffffffff)
	switch v.Source {
	case pcapfilter.Fixed:
		full >>= 32 - 8*v.Size
		e.fixed(v.Off, v.Size)
	case pcapfilter.Transport:
		full >>= 32 - 8*v.Size
		e.transport(v)
	case pcapfilter.Computed:
		e.arith(v.Expr, 0)
	default:
		e.beside(e, v.Source)
	}
	if v.Mask != full {
		e.add(asm.And.Imm32(asm.R0, int32(v.Mask)))
	}
}

// fixed reads a field at a fixed offset.
func (e *emitter) fixed(off uint32, size uint8) {
	end := off + uint32(size)
	if off >= e.head.size || end > e.head.size {
		e.add(asm.Mov.Imm32(asm.R2, int32(off)))
		e.far(size)
		return
	}
	if e.state.head < end {
		e.state.head = end
		e.add(asm.JLT.Imm(regHead, int32(end), e.reject()))
	}
	e.onStack(e.head.at+int16(off), size)
}

// transport reads a field behind an IPv4 header.
func (e *emitter) transport(v pcapfilter.Value) {
	w, end := e.layer4, v.Off+uint32(v.Size)
	if v.Off < w.from || end < v.Off || end > w.from+w.size {
		e.headerLength(v.Net)
		e.add(asm.Add.Imm32(asm.R0, int32(v.Off)), asm.Mov.Reg32(asm.R2, asm.R0), asm.Add.Imm(asm.R2, int32(v.Net)))
		e.far(v.Size)
		return
	}
	if e.state.net != int64(v.Net) {
		e.fillLayer4(v.Net)
	}
	if end -= w.from; e.state.layer4 < end {
		e.state.layer4 = end
		e.add(asm.JLT.Imm(regLayer4, int32(end), e.reject()))
	}
	e.onStack(w.at+int16(v.Off-w.from), v.Size)
}

// headerLength leaves the length of the IPv4 header at net in R0.
func (e *emitter) headerLength(net uint32) {
	e.fixed(net, 1)
	e.add(asm.And.Imm32(asm.R0, 0xf), asm.LSh.Imm32(asm.R0, 2))
}

// fillLayer4 fills the transport window with what follows the IPv4 header at net.
func (e *emitter) fillLayer4(net uint32) {
	e.headerLength(net)
	e.add(
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Add.Imm(asm.R2, int32(net+e.layer4.from)),
		asm.Mov.Reg(regLayer4, regLength),
		asm.JLE.Reg(regLayer4, asm.R2, e.reject()),
		asm.Sub.Reg(regLayer4, asm.R2),
	)
	e.limit(regLayer4, e.layer4.size)
	e.add(asm.JLT.Imm(regLayer4, 1, e.reject()), asm.Mov.Reg(asm.R4, regLayer4))
	e.copy(e, e.layer4.at)
	e.state.net, e.state.layer4 = int64(net), 1
}

// far reads the field at offset R2 by a call of its own.
func (e *emitter) far(size uint8) {
	e.add(
		asm.Mov.Reg(asm.R3, asm.R2),
		asm.Add.Imm(asm.R3, int32(size)),
		asm.JGT.Reg(asm.R3, regLength, e.reject()),
		asm.Mov.Imm(asm.R4, int32(size)),
	)
	e.copy(e, e.scratch)
	e.onStack(e.scratch, size)
}

// onStack loads a big-endian field from the stack into R0, in parts if it is not aligned: the verifier
// insists on that there, whatever the machine.
func (e *emitter) onStack(at int16, size uint8) {
	switch {
	case size == 1:
		e.add(asm.LoadMem(asm.R0, asm.RFP, at, asm.Byte))
	case size == 2 && at%2 == 0:
		e.add(asm.LoadMem(asm.R0, asm.RFP, at, asm.Half), asm.HostTo(asm.BE, asm.R0, asm.Half))
	case size == 4 && at%4 == 0:
		e.add(asm.LoadMem(asm.R0, asm.RFP, at, asm.Word), asm.HostTo(asm.BE, asm.R0, asm.Word))
	case size == 4 && at%2 == 0:
		e.add(
			asm.LoadMem(asm.R0, asm.RFP, at, asm.Half), asm.HostTo(asm.BE, asm.R0, asm.Half),
			asm.LoadMem(asm.R1, asm.RFP, at+2, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half),
			asm.LSh.Imm32(asm.R0, 16), asm.Or.Reg32(asm.R0, asm.R1),
		)
	default:
		e.add(asm.LoadMem(asm.R0, asm.RFP, at, asm.Byte))
		for i := int16(1); i < int16(size); i++ {
			e.add(asm.LoadMem(asm.R1, asm.RFP, at+i, asm.Byte), asm.LSh.Imm32(asm.R0, 8), asm.Or.Reg32(asm.R0, asm.R1))
		}
	}
}

// temp is the stack slot of the operand at a depth.
func (e *emitter) temp(depth int) int16 {
	if depth >= e.bounds().temps {
		e.err = ErrTooComplex
		return e.scratch
	}
	for len(e.temps) <= depth {
		e.temps = append(e.temps, e.slot(8))
	}
	return e.temps[depth]
}

// arith leaves the result of an expression in R0, zero-extended; depth operands wait.
func (e *emitter) arith(x *pcapfilter.Arith, depth int) {
	switch x.Op {
	case pcapfilter.ArithConst:
		e.add(asm.Mov.Imm32(asm.R0, int32(x.Const)))
		return
	case pcapfilter.ArithField:
		e.value(x.Value)
		return
	}
	e.arith(x.Left, depth)
	switch x.Op {
	case pcapfilter.ArithIndex:
		e.index(x.Value, depth)
		return
	case pcapfilter.ArithNeg:
		e.add(asm.Mov.Imm32(asm.R1, 0), asm.Sub.Reg32(asm.R1, asm.R0), asm.Mov.Reg32(asm.R0, asm.R1))
		return
	}
	left := e.temp(depth)
	e.add(asm.StoreMem(asm.RFP, left, asm.R0, asm.DWord))
	e.arith(x.Right, depth+1)
	e.add(asm.Mov.Reg32(asm.R1, asm.R0), asm.LoadMem(asm.R0, asm.RFP, left, asm.DWord))
	e.operate(x.Op)
}

// index reads the field whose offset has R0 added to it.
func (e *emitter) index(v pcapfilter.Value, depth int) {
	if v.Source == pcapfilter.Fixed {
		e.add(asm.Mov.Imm32(asm.R2, int32(v.Off)), asm.Add.Reg(asm.R2, asm.R0))
		e.far(v.Size)
		return
	}
	kept := e.temp(depth)
	e.add(asm.StoreMem(asm.RFP, kept, asm.R0, asm.DWord))
	e.headerLength(v.Net)
	e.add(
		asm.LoadMem(asm.R1, asm.RFP, kept, asm.DWord),
		asm.Add.Reg32(asm.R0, asm.R1),
		asm.Add.Imm32(asm.R0, int32(v.Off)),
		asm.Mov.Reg32(asm.R2, asm.R0),
		asm.Add.Imm(asm.R2, int32(v.Net)),
	)
	e.far(v.Size)
}

// aluOps are the operations that one instruction does.
var aluOps = map[pcapfilter.ArithOp]asm.ALUOp{
	pcapfilter.ArithAdd: asm.Add, pcapfilter.ArithSub: asm.Sub, pcapfilter.ArithMul: asm.Mul, pcapfilter.ArithDiv: asm.Div, pcapfilter.ArithMod: asm.Mod,
	pcapfilter.ArithAnd: asm.And, pcapfilter.ArithOr: asm.Or, pcapfilter.ArithXor: asm.Xor, pcapfilter.ArithLsh: asm.LSh, pcapfilter.ArithRsh: asm.RSh,
}

// operate computes R0 = R0 op R1.
func (e *emitter) operate(op pcapfilter.ArithOp) {
	switch op {
	case pcapfilter.ArithDiv, pcapfilter.ArithMod:
		e.add(asm.JEq.Imm(asm.R1, 0, e.reject()))
	case pcapfilter.ArithLsh, pcapfilter.ArithRsh:
		small := e.newLabel()
		e.add(asm.JLE.Imm(asm.R1, 31, small), asm.Mov.Imm32(asm.R0, 0), asm.Mov.Imm32(asm.R1, 0))
		e.place(small)
	}
	if alu, ok := aluOps[op]; ok {
		e.add(alu.Reg32(asm.R0, asm.R1))
		return
	}
	holds, end := e.newLabel(), e.newLabel()
	e.add(
		jumps[op-pcapfilter.ArithEqual].holds.Reg(asm.R0, asm.R1, holds),
		asm.Mov.Imm32(asm.R0, 0),
		asm.Ja.Label(end),
	)
	e.place(holds)
	e.add(asm.Mov.Imm32(asm.R0, 1))
	e.place(end)
}
