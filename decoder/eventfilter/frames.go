// SPDX-License-Identifier: Apache-2.0

package eventfilter

import (
	"encoding/binary"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/pcapfilter"
)

// FrameFilter matches captured packets against an expression, as the filter in the kernel does.
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
func (m *FrameFilter) Match(f event.RawFrame) bool {
	q := pcapfilter.Packet{
		Data: f.Data, Length: int(f.Length), Interface: f.Ifindex, Protocol: f.Protocol, Tag: f.VLAN, Tagged: f.Tagged,
	}
	switch f.Direction {
	case event.In:
		q.Direction = pcapfilter.Inbound
	case event.Out:
		q.Direction = pcapfilter.Outbound
	}
	if !f.Ethernet {
		return m.packets != nil && m.packets.Match(q)
	}
	if m.frames.VLAN && f.Tagged && len(f.Data) >= packet.EtherTypes { // it was taken off
		q.Data = append(make([]byte, 0, len(f.Data)+packet.VlanSize), f.Data[:packet.EtherTypes]...)
		q.Data = binary.BigEndian.AppendUint16(q.Data, f.VLANType)
		q.Data = binary.BigEndian.AppendUint16(q.Data, f.VLAN)
		q.Data = append(q.Data, f.Data[packet.EtherTypes:]...)
		q.Length += packet.VlanSize
	}
	return m.frames.Match(q)
}
