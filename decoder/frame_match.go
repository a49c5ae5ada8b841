package decoder

import (
	"encoding/binary"

	"ktrace/decoder/pcapfilter"
)

// FrameFilter tells which captured packets pass an expression, as the filter in the kernel does.
type FrameFilter struct {
	frames  *pcapfilter.Program
	packets *pcapfilter.Program // of devices without a link header; nil if the expression asks for one: none passes
}

// NewFrameFilter compiles an expression. The error is a *pcapfilter.Error.
func NewFrameFilter(e *pcapfilter.Expr) (*FrameFilter, error) {
	frames, err := e.Compile(pcapfilter.LinkEthernet)
	if err != nil {
		return nil, err
	}
	m := &FrameFilter{frames: frames}
	if m.packets, err = e.Compile(pcapfilter.LinkNetwork); err != nil {
		m.packets = nil
	}
	return m, nil
}

// Match reports whether the packet passes.
func (m *FrameFilter) Match(f RawFrame) bool {
	q := pcapfilter.Packet{
		Data: f.Data, Length: int(f.Length), Interface: f.Ifindex, Protocol: f.Protocol, Tag: f.VLAN, Tagged: f.Tagged,
	}
	switch f.Direction {
	case In:
		q.Direction = pcapfilter.Inbound
	case Out:
		q.Direction = pcapfilter.Outbound
	}
	if !f.Ethernet {
		return m.packets != nil && m.packets.Match(q)
	}
	if m.frames.VLAN && f.Tagged && len(f.Data) >= etherTypes { // it was taken off
		q.Data = append(make([]byte, 0, len(f.Data)+vlanSize), f.Data[:etherTypes]...)
		q.Data = binary.BigEndian.AppendUint16(q.Data, f.VLANType)
		q.Data = binary.BigEndian.AppendUint16(q.Data, f.VLAN)
		q.Data = append(q.Data, f.Data[etherTypes:]...)
		q.Length += vlanSize
	}
	return m.frames.Match(q)
}
