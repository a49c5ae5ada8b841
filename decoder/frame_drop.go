package decoder

import (
	"encoding/binary"
	"slices"
)

// AppendDrop appends the record of a packet that another program saw the kernel throw away, for a reason and in a
// function whose numbers facts give names to. It is false for what is not IP.
func (f RawFrame) AppendDrop(raw []byte, code uint32, address uint64) ([]byte, bool) {
	at := 0
	if f.Ethernet {
		at, _ = networkHeader(f.Data)
	}
	if at > len(f.Data) {
		return raw, false
	}
	p := parsePacket(f.Data[at:], f.Length-min(f.Length, uint32(at)))
	if p == nil {
		return raw, false
	}
	r := pathRecord{
		Hdr: f.header(kindDrop), Location: address, Reason: code,
		Packet: tupleRecord{
			Src: p.Src.As16(), Dst: p.Dst.As16(), Sport: p.Sport, Dport: p.Dport, Proto: protoNumber(p.Proto), Family: 6,
		},
		Len: p.Len, Id: p.ID, Fragment: p.fragmentField(), L4: uint16(p.TransportAt), Data: uint16(p.DataAt),
		Ttl: p.TTL, IcmpType: p.ICMPType, IcmpCode: p.ICMPCode, TcpFlags: tcpBits(p.Flags),
	}
	if p.Src.Is4() {
		r.Packet.Family = 4
	}
	r.Taken = uint16(copy(r.Bytes[:], p.Bytes))
	switch f.Direction {
	case In:
		r.Direction = uint8(directionIn)
	case Out:
		r.Direction = uint8(directionOut)
	}
	r.Hdr.Size = uint32(r.recordSize())
	raw, err := binary.Append(slices.Grow(raw, r.recordSize()), binary.LittleEndian, r)
	return raw, err == nil
}
