// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"slices"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// AppendDrop appends the record of a packet that another program saw the kernel drop. Facts name the numbers of the
// reason and of the function. It is false for what is not IP.
func (f RawFrame) AppendDrop(raw []byte, code uint32, address uint64) ([]byte, bool) {
	at := 0
	if f.Ethernet {
		at, _ = packet.NetworkHeader(f.Data)
	}
	if at > len(f.Data) {
		return raw, false
	}
	p := packet.Parse(f.Data[at:], f.Length-min(f.Length, uint32(at)))
	if p == nil {
		return raw, false
	}
	r := wire.Path{
		Hdr: f.header(wire.KindDrop), Location: address, Reason: code,
		Packet: wire.Tuple{
			Src: p.Src.As16(), Dst: p.Dst.As16(), Sport: p.Sport, Dport: p.Dport, Proto: packet.ProtoNumber(p.Proto), Family: 6,
		},
		Len: p.Len, Id: p.ID, Fragment: p.FragmentField(), L4: p.TransportAt, Data: p.DataAt,
		Ttl: p.TTL, IcmpType: p.ICMPType, IcmpCode: p.ICMPCode, TcpFlags: packet.FlagBits(p.Flags),
	}
	if p.Src.Is4() {
		r.Packet.Family = 4
	}
	r.Taken = uint16(copy(r.Bytes[:], p.Bytes))
	switch f.Direction {
	case In:
		r.Direction = uint8(wire.DirectionIn)
	case Out:
		r.Direction = uint8(wire.DirectionOut)
	}
	r.Hdr.Size = uint32(r.RecordSize())
	raw, err := binary.Append(slices.Grow(raw, r.RecordSize()), binary.LittleEndian, r)
	return raw, err == nil
}
