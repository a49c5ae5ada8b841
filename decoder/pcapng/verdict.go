// SPDX-License-Identifier: Apache-2.0

package pcapng

import "iter"

// VerdictKind says who decided about a packet.
type VerdictKind uint8

// Kinds of verdicts.
const (
	VerdictHardware VerdictKind = 0
	VerdictTC       VerdictKind = 1 // TC_ACT_* of linux/pkt_cls.h
	VerdictXDP      VerdictKind = 2 // enum xdp_action of linux/bpf.h
)

// Values of a VerdictTC. Wireshark matches a drop with frame.verdict.ebpf_tc == 2.
const (
	TCOK   uint64 = 0
	TCShot uint64 = 2 // dropped
)

// XDPDrop is the value of a VerdictXDP for a dropped packet.
const XDPDrop uint64 = 1

// Verdict is what was decided about a packet.
type Verdict struct {
	Kind  VerdictKind
	Value uint64 // valid iff Kind is VerdictTC or VerdictXDP
	Data  []byte // as in the file, behind the kind
}

// Verdicts yields what was decided about the packet, in order.
func (p *Packet) Verdicts() iter.Seq[Verdict] {
	return func(yield func(Verdict) bool) {
		for opt := range p.Options.All() {
			if opt.Code != PacketVerdict || len(opt.Value) == 0 {
				continue
			}
			v := Verdict{Kind: VerdictKind(opt.Value[0]), Data: opt.Value[1:]}
			if v.Kind.numeric() && len(v.Data) == 8 {
				v.Value = opt.order.uint64(v.Data)
			}
			if !yield(v) {
				return
			}
		}
	}
}

func (k VerdictKind) numeric() bool { return k == VerdictTC || k == VerdictXDP }

// AddVerdict appends the verdict of TC or XDP. editcap 4.0 turns it into an option that no Wireshark
// takes; from 4.4 on it survives.
func (o *Options) AddVerdict(kind VerdictKind, value uint64) {
	at := o.begin(PacketVerdict)
	o.raw = o.order.append64(append(o.raw, byte(kind)), value)
	o.finish(at)
}
