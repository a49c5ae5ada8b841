// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"fmt"
	"time"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// KindFrame is a whole packet, as a capture takes it.
const KindFrame Kind = "frame"

// Frame is a whole packet, from the header of its link on. The headers that could be read are the event's Packet.
type Frame struct {
	Protocol uint16 `json:"ethertype"`            // of what the frame carries
	Length   uint32 `json:"length"`               // bytes, as it was on the wire
	Taken    int    `json:"captured"`             // bytes of them that were kept
	Segment  uint32 `json:"segment,omitempty"`    // the device makes packets of this size of it, or it was made of such
	Text     string `json:"summary"`              // as Summary; only JSON needs it
	Bytes    []byte `json:"-"`                    // what was taken; no link header where the device has none
	Ethernet bool   `json:"ethernet"`             // Bytes begin with an Ethernet header
	Type     uint8  `json:"packet_type"`          // PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST, _OUTGOING
	Queue    uint32 `json:"queue,omitempty"`      // of the device
	Lost     uint64 `json:"lost_before,omitzero"` // packets lost at this place since the one before

	packet *packet.Packet // the event's
}

// Kind implements Body.
func (Frame) Kind() Kind { return KindFrame }

// Summary implements Body: as tcpdump would say it, in brief.
func (f Frame) Summary() string { return frameText(f, f.packet) }

// ToAll reports whether it was for all machines of the link, or a group of them: the capture says so, or the
// lowest bit of the first byte, which is the destination's.
func (f Frame) ToAll() bool {
	const broadcast, multicast = 1, 2
	return f.Type == broadcast || f.Type == multicast || f.Ethernet && len(f.Bytes) > 0 && f.Bytes[0]&1 != 0
}

// Hardware types of devices (linux/if_arp.h) that ktrace distinguishes.
const (
	arphrdEther    = 1
	arphrdLoopback = 772 // its frames have an Ethernet header too
	arphrdNone     = 0xfffe
)

// RawFrame is a record of a captured packet, without anything made of it: what a capture file needs.
type RawFrame struct {
	Time      time.Duration // since boot
	Netns     uint32
	Ifindex   uint32
	Length    uint32 // on the wire, as Data
	Queue     uint32
	Segment   uint32
	Type      uint8 // as Frame.Type
	Direction Direction
	Ethernet  bool
	Protocol  uint16 // EtherType
	VLAN      uint16 // tag that is not among the bytes, valid iff Tagged
	VLANType  uint16
	Tagged    bool
	Data      []byte

	PID, TID uint32 // of who sent or received it, 0 if unknown, as always in a capture of ktrace
	Comm     string // valid iff PID != 0
	Cgroup   uint64
	Journey  uint64
}

// DecodeFrame reads a record for which IsPacket is true. Data aliases raw.
func DecodeFrame(raw []byte) (RawFrame, error) {
	var r wire.Tap
	head := r.RecordSize()
	if len(raw) < head {
		return RawFrame{}, fmt.Errorf("%w: %d bytes", ErrShort, len(raw))
	}
	r.Decode(raw)
	if int(r.Hdr.Size) > len(raw) || uint64(head)+uint64(r.Taken) > uint64(r.Hdr.Size) {
		return RawFrame{}, fmt.Errorf("%w: packet of %d bytes in a record of %d", ErrShort, r.Taken, len(raw))
	}
	f := RawFrame{
		Time: time.Duration(r.Hdr.Time), Netns: r.Hdr.Netns, Ifindex: r.Hdr.Ifindex,
		Length: r.Len, Queue: r.Queue, Segment: r.Segment, Type: uint8(r.PacketType),
		Ethernet: r.DeviceType == arphrdEther || r.DeviceType == arphrdLoopback,
		Protocol: swap16(r.Protocol),
		VLAN:     r.VlanTci, VLANType: swap16(r.VlanProto), Tagged: r.VlanProto != 0,
		Data: raw[head : head+int(r.Taken)],
	}
	switch wire.TapDirection(r.Direction) {
	case wire.TapIn:
		f.Direction = In
	case wire.TapOut:
		f.Direction = Out
	}
	return f, nil
}

// Append appends the record of a packet, as the kernel would have sent it.
func (f RawFrame) Append(raw []byte) []byte {
	r := wire.Tap{
		Hdr: f.header(wire.KindPacket),
		Len: f.Length, Taken: uint32(len(f.Data)), Queue: f.Queue, Segment: f.Segment, PacketType: uint32(f.Type),
		DeviceType: arphrdNone, Protocol: swap16(f.Protocol), VlanTci: f.VLAN,
	}
	if f.Ethernet {
		r.DeviceType = arphrdEther
	}
	if f.Tagged {
		r.VlanProto = swap16(f.VLANType)
	}
	switch f.Direction {
	case In:
		r.Direction = uint32(wire.TapIn)
	case Out:
		r.Direction = uint32(wire.TapOut)
	}
	r.Hdr.Size = uint32(r.RecordSize() + len(f.Data))
	return append(appendTap(raw, &r), f.Data...)
}

// header is the header of a record of that kind about the packet.
func (f RawFrame) header(k wire.Kind) wire.Header {
	h := wire.Header{
		Kind: uint16(k), Time: uint64(f.Time), Netns: f.Netns, Ifindex: f.Ifindex,
		Pid: f.PID, Tid: f.TID, Cgroup: f.Cgroup, Journey: f.Journey,
	}
	copy(h.Comm[:], f.Comm)
	return h
}

// appendTap appends the record as decode reads it. Captures are read at the speed of this.
func appendTap(b []byte, r *wire.Tap) []byte {
	little, h := binary.LittleEndian, &r.Hdr
	b = little.AppendUint16(little.AppendUint16(little.AppendUint32(b, h.Size), h.Kind), h.Cpu)
	b = little.AppendUint32(little.AppendUint32(little.AppendUint64(b, h.Time), h.Pid), h.Tid)
	b = little.AppendUint32(little.AppendUint32(little.AppendUint64(b, h.Cgroup), h.Netns), h.Ifindex)
	b = append(little.AppendUint64(b, h.Journey), h.Comm[:]...)
	b = little.AppendUint32(little.AppendUint32(little.AppendUint32(b, r.Len), r.Taken), r.Queue)
	b = little.AppendUint16(little.AppendUint16(b, r.DeviceType), r.Protocol)
	b = little.AppendUint16(little.AppendUint16(b, r.VlanProto), r.VlanTci)
	return little.AppendUint32(little.AppendUint32(little.AppendUint32(b, r.PacketType), r.Direction), r.Segment)
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }

func decodePacket(raw []byte, e *Event) error {
	f, err := DecodeFrame(raw)
	if err != nil {
		return err
	}
	e.Direction = f.Direction
	b := Frame{
		Protocol: f.Protocol, Length: f.Length, Taken: len(f.Data), Segment: f.Segment, Type: f.Type, Queue: f.Queue,
		Bytes: append([]byte(nil), f.Data...), Ethernet: f.Ethernet,
	}
	at, protocol := 0, f.Protocol
	if f.Ethernet {
		at, protocol = packet.NetworkHeader(b.Bytes)
	}
	if at <= len(b.Bytes) {
		b.Protocol = protocol
		e.Packet = packet.Parse(b.Bytes[at:], f.Length-min(f.Length, uint32(at)))
		e.Packet.Decapsulate()
	}
	b.packet = e.Packet
	e.Body = b
	return nil
}
