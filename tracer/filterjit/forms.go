// SPDX-License-Identifier: Apache-2.0

package filterjit

import (
	"github.com/cilium/ebpf/asm"

	"ktrace/decoder/pcapfilter"
)

// Offsets in struct __sk_buff (linux/bpf.h), which are ABI.
const (
	skbLen         = 0
	skbVLANPresent = 20
	skbVLANTCI     = 24
	skbVLANProto   = 28
	skbIfindex     = 40
)

// Where a VLAN tag is in a frame.
const (
	tagStart = 12
	tagEnd   = 16
)

// frames are packets in TC: a context in R1, their direction in R2.
type frames struct{ way, shift int16 } // stack slots: the direction; 4 if a tag is put back, else 0

func (*frames) link() pcapfilter.LinkType { return pcapfilter.LinkEthernet }
func (*frames) misalignment() int16       { return 2 }

// bounds have room for Ethernet, a tag, IPv6 and a TCP header: 240 bytes of stack.
func (*frames) bounds() bounds { return bounds{head: 96, temps: 8} }

func (f *frames) prologue(e *emitter) {
	e.add(asm.Mov.Reg(regPacket, asm.R1), asm.LoadMem(regLength, asm.R1, skbLen, asm.Word))
	if e.reads(pcapfilter.Way) {
		f.way = e.keep(asm.R2)
	}
	if !e.program.VLAN {
		return
	}
	untagged := e.newLabel()
	e.add(
		asm.LoadMem(asm.R2, regPacket, skbVLANPresent, asm.Word),
		asm.JEq.Imm(asm.R2, 0, untagged),
		asm.Mov.Imm(asm.R2, tagEnd-tagStart),
	)
	e.place(untagged)
	e.add(asm.Add.Reg(regLength, asm.R2))
	f.shift = e.keep(asm.R2)
}

func (f *frames) fillHead(e *emitter, filled string) {
	if e.program.VLAN {
		plain := e.newLabel()
		e.add(asm.LoadMem(asm.R1, asm.RFP, f.shift, asm.DWord), asm.JEq.Imm(asm.R1, 0, plain))
		e.add(asm.Mov.Imm(asm.R2, 0), asm.Mov.Imm(asm.R4, tagStart))
		f.load(e, e.head.at)
		e.add(
			asm.LoadMem(asm.R1, regPacket, skbVLANProto, asm.Word), // in network order
			asm.StoreMem(asm.RFP, e.head.at+tagStart, asm.R1, asm.Half),
			asm.LoadMem(asm.R1, regPacket, skbVLANTCI, asm.Word),
			asm.HostTo(asm.BE, asm.R1, asm.Half),
			asm.StoreMem(asm.RFP, e.head.at+tagStart+2, asm.R1, asm.Half),
			asm.Mov.Reg(asm.R4, regHead),
			asm.JLE.Imm(asm.R4, tagEnd, filled),
			asm.Sub.Imm(asm.R4, tagEnd),
			asm.Mov.Imm(asm.R2, tagStart),
		)
		f.load(e, e.head.at+tagEnd)
		e.add(asm.Ja.Label(filled))
		e.place(plain)
	}
	e.add(asm.Mov.Imm(asm.R2, 0), asm.Mov.Reg(asm.R4, regHead))
	f.load(e, e.head.at)
}

// copy reads around the tag that was put back; a field that has part of it is rejected, since only an offset
// read from the packet could lead there.
func (f *frames) copy(e *emitter, dst int16) {
	if e.program.VLAN {
		behind, there := e.newLabel(), e.newLabel()
		e.add(
			asm.LoadMem(asm.R1, asm.RFP, f.shift, asm.DWord),
			asm.JEq.Imm(asm.R1, 0, there),
			asm.JGE.Imm(asm.R2, tagEnd, behind),
			asm.Mov.Reg(asm.R1, asm.R2),
			asm.Add.Reg(asm.R1, asm.R4),
			asm.JGT.Imm(asm.R1, tagStart, e.reject()),
			asm.Ja.Label(there),
		)
		e.place(behind)
		e.add(asm.Sub.Imm(asm.R2, tagEnd-tagStart))
		e.place(there)
	}
	f.load(e, dst)
}

// load copies R4 bytes at offset R2 of the buffer.
func (f *frames) load(e *emitter, dst int16) {
	e.add(
		asm.Mov.Reg(asm.R1, regPacket),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(dst)),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, e.reject()),
	)
}

func (f *frames) beside(e *emitter, s pcapfilter.Source) {
	switch s {
	case pcapfilter.Length:
		e.add(asm.Mov.Reg(asm.R0, regLength))
	case pcapfilter.Way:
		e.add(asm.LoadMem(asm.R0, asm.RFP, f.way, asm.DWord))
	default:
		e.add(asm.LoadMem(asm.R0, regPacket, skbIfindex, asm.Word))
	}
}

// packets are packets in tracing programs: the address of their network header in R1, the bytes that can be read
// there in R2, their length in R3, what is known about them in R4 and their interface in R5.
type packets struct{ length, about, ifindex int16 } // stack slots

// Bits of R4.
const (
	aboutTag = 16
	aboutWay = 33
)

func (*packets) link() pcapfilter.LinkType { return pcapfilter.LinkNetwork }
func (*packets) misalignment() int16       { return 0 }

// bounds have room for IPv6 and a TCP header: 160 bytes of stack.
func (*packets) bounds() bounds { return bounds{head: 64, temps: 3} }

func (p *packets) prologue(e *emitter) {
	e.add(asm.Mov.Reg(regPacket, asm.R1), asm.Mov.Reg32(regLength, asm.R2))
	if e.reads(pcapfilter.Length) {
		e.add(asm.Mov.Reg32(asm.R3, asm.R3))
		p.length = e.keep(asm.R3)
	}
	if e.reads(pcapfilter.Protocol) || e.reads(pcapfilter.Tag) || e.reads(pcapfilter.Way) {
		p.about = e.keep(asm.R4)
	}
	if e.reads(pcapfilter.Interface) {
		p.ifindex = e.keep(asm.R5)
	}
}

func (p *packets) fillHead(e *emitter, _ string) {
	e.add(asm.Mov.Imm(asm.R2, 0), asm.Mov.Reg(asm.R4, regHead))
	p.copy(e, e.head.at)
}

func (*packets) copy(e *emitter, dst int16) {
	e.add(
		asm.Mov.Reg(asm.R3, regPacket),
		asm.Add.Reg(asm.R3, asm.R2),
		asm.Mov.Reg(asm.R2, asm.R4),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, int32(dst)),
		asm.FnProbeReadKernel.Call(),
		asm.JNE.Imm(asm.R0, 0, e.reject()),
	)
}

func (p *packets) beside(e *emitter, s pcapfilter.Source) {
	switch s {
	case pcapfilter.Length:
		e.add(asm.LoadMem(asm.R0, asm.RFP, p.length, asm.DWord))
	case pcapfilter.Interface:
		e.add(asm.LoadMem(asm.R0, asm.RFP, p.ifindex, asm.Word))
	default:
		bits := map[pcapfilter.Source]struct{ from, mask int32 }{
			pcapfilter.Protocol: {0, 0xffff}, pcapfilter.Tag: {aboutTag, 0x1ffff}, pcapfilter.Way: {aboutWay, 3},
		}[s]
		e.add(asm.LoadMem(asm.R0, asm.RFP, p.about, asm.DWord), asm.RSh.Imm(asm.R0, bits.from), asm.And.Imm(asm.R0, bits.mask))
	}
}

// keep stores an argument on the stack.
func (e *emitter) keep(reg asm.Register) int16 {
	at := e.slot(8)
	e.add(asm.StoreMem(asm.RFP, at, reg, asm.DWord))
	return at
}

// reads reports whether the program uses a value that travels beside the packet.
func (e *emitter) reads(s pcapfilter.Source) bool {
	for _, v := range e.program.Fields() {
		if v.Source == s {
			return true
		}
	}
	return false
}
