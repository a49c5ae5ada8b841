// SPDX-License-Identifier: Apache-2.0

package pcapng

import "math"

// Packet is a captured packet, whichever way its file stores it.
type Packet struct {
	Interface *Interface
	Time      int64  // nanoseconds since 1970 UTC, rounded down; 0 if NoTime
	Data      []byte // as captured, beginning with the header that Interface.LinkType names
	Length    uint32 // on the wire; more than len(Data) if it was cut off
	NoTime    bool   // a simple packet block, which has no timestamp
	Options   Options

	Block Block // which holds the packet; zero in one that is being built
}

const (
	packetFixed       = 20 // interface, time, both lengths
	simplePacketFixed = 4  // length on the wire

	oldDropsUnknown = math.MaxUint16
)

// IsPacket reports whether the block holds a packet.
func (b *Block) IsPacket() bool {
	return b.Type == BlockPacket || b.Type == BlockSimplePacket || b.Type == BlockOldPacket
}

// Packet decodes a block that IsPacket into p, of which it keeps nothing. Data and Options alias the
// block. The error is ErrMalformed.
func (b *Block) Packet(p *Packet) error {
	switch b.Type {
	case BlockPacket, BlockOldPacket:
		return b.packet(p)
	case BlockSimplePacket:
		return b.simplePacket(p)
	}
	return b.wrong("packet")
}

// packet decodes the current and the obsolete packet block. They differ in the first four bytes.
func (b *Block) packet(p *Packet) error {
	body, err := b.body(packetFixed)
	if err != nil {
		return err
	}
	id := b.Order.uint32(body)
	if b.Type == BlockOldPacket {
		id = uint32(b.Order.uint16(body))
	}
	i, err := b.interfaceAt(id)
	if err != nil {
		return err
	}
	captured, data := b.Order.uint32(body[12:]), body[packetFixed:]
	if uint64(captured) > uint64(len(data)) {
		return b.malformed("%d bytes captured, %d are there", captured, len(data))
	}
	n := int(captured)
	p.Interface, p.Time, p.NoTime = i, i.clock.nanos(b.Order.uint32Pair(body[4:])), false
	p.Data, p.Length = data[:n:n], b.Order.uint32(body[16:])
	p.Options = Options{raw: data[min(align(n), len(data)):], order: b.Order}
	if b != &p.Block { // as it is when ReadPacket calls
		p.Block = *b
	}
	return nil
}

// simplePacket decodes a block that leaves out what can be guessed: the interface is the first, and
// as much was captured as its snap length allows.
func (b *Block) simplePacket(p *Packet) error {
	body, err := b.body(simplePacketFixed)
	if err != nil {
		return err
	}
	i, err := b.interfaceAt(0)
	if err != nil {
		return err
	}
	length, data := b.Order.uint32(body), body[simplePacketFixed:]
	captured := length
	if i.SnapLen != 0 {
		captured = min(captured, i.SnapLen)
	}
	if uint64(captured) > uint64(len(data)) {
		return b.malformed("%d bytes captured, %d are there", captured, len(data))
	}
	*p = Packet{
		Interface: i, NoTime: true,
		Data: data[:captured:captured], Length: length,
		Options: Options{order: b.Order}, Block: *b,
	}
	return nil
}

// DropCount returns how many packets the interface lost between its packet before and this one.
func (p *Packet) DropCount() (uint64, bool) {
	if p.Block.Type == BlockOldPacket {
		drops := p.Block.Order.uint16(p.Block.Body()[2:])
		return uint64(drops), drops != oldDropsUnknown
	}
	return p.Options.Uint64(PacketDropCount)
}

// ID returns the number that is the same for one packet seen in several places.
func (p *Packet) ID() (uint64, bool) { return p.Options.Uint64(PacketID) }

// Flags returns the direction and what the hardware said, 0 if unknown.
func (p *Packet) Flags() Flags {
	flags, _ := p.Options.Uint32(PacketFlags)
	return Flags(flags)
}

// Process returns the process and thread that sent the packet, 0 where unknown.
func (p *Packet) Process() (pid, tid uint32) {
	opt, ok := p.Options.Find(PacketProcess)
	if !ok || len(opt.Value) != 8 {
		return 0, 0
	}
	return opt.order.uint32(opt.Value), opt.order.uint32(opt.Value[4:])
}

// AddProcess appends the process and thread that sent the packet, 0 where unknown.
func (o *Options) AddProcess(pid, tid uint32) {
	at := o.begin(PacketProcess)
	o.raw = o.order.append32(o.order.append32(o.raw, pid), tid)
	o.finish(at)
}

// Flags is the value of PacketFlags.
type Flags uint32

// Bits of Flags. Wireshark up to 4.6 shows those from FlagChecksumNotReady on as reserved.
const (
	FlagInbound          Flags = 1
	FlagOutbound         Flags = 2
	FlagUnicast          Flags = 1 << 2
	FlagMulticast        Flags = 2 << 2
	FlagBroadcast        Flags = 3 << 2
	FlagPromiscuous      Flags = 4 << 2
	FlagChecksumNotReady Flags = 1 << 9 // left to the hardware, as skb->ip_summed says
	FlagChecksumValid    Flags = 1 << 10
	FlagSegmentation     Flags = 1 << 11 // several packets of the wire in one: TSO or GRO
)

// Direction returns FlagInbound, FlagOutbound or 0.
func (f Flags) Direction() Flags { return f & 3 }

// Reception returns FlagUnicast, FlagMulticast, FlagBroadcast, FlagPromiscuous or 0.
func (f Flags) Reception() Flags { return f & (7 << 2) }

// FCSLength returns the bytes of the frame check sequence at the end of the packet, 0 if unknown.
func (f Flags) FCSLength() int { return int(f >> 5 & 15) }

// AddFlags appends PacketFlags.
func (o *Options) AddFlags(f Flags) { o.AddUint32(PacketFlags, uint32(f)) }
