// SPDX-License-Identifier: Apache-2.0

package pcapng

import "fmt"

// classic is the state of reading a pcap file. Its header and records become the blocks that they
// would be in pcapng: the section, the one interface and packets, little-endian.
type classic struct {
	order      Order
	resolution byte   // as in if_tsresol
	scale      uint64 // ticks of a second
	link       LinkType
	snapLen    uint32
	fcs        byte   // bits of the frame check sequence, 0 if unknown
	block      []byte // the last one made
}

// classicMagics are those of the format and of its variant with nanoseconds.
var classicMagics = []struct {
	bytes      [magicLength]byte
	order      Order
	resolution byte
}{
	{[magicLength]byte{0xd4, 0xc3, 0xb2, 0xa1}, LittleEndian, 6},
	{[magicLength]byte{0xa1, 0xb2, 0xc3, 0xd4}, BigEndian, 6},
	{[magicLength]byte{0x4d, 0x3c, 0xb2, 0xa1}, LittleEndian, 9},
	{[magicLength]byte{0xa1, 0xb2, 0x3c, 0x4d}, BigEndian, 9},
}

const (
	classicHeader = 24
	classicRecord = 16
)

// startClassic reads the header and returns the section.
func (r *Reader) startClassic(b *Block) error {
	head, err := r.window.peek(classicHeader)
	if err != nil {
		return r.cut(err, len(head), classicHeader)
	}
	c := &r.classic
	if major := c.order.uint16(head[4:]); major != 2 {
		return r.fail(fmt.Errorf("%w: pcap version %d.%d, want 2.4", ErrFormat, major, c.order.uint16(head[6:])))
	}
	c.scale = powerOf10(uint(c.resolution))
	c.snapLen = c.order.uint32(head[16:])
	link := c.order.uint32(head[20:])
	c.link = LinkType(link)
	if link&(1<<26) != 0 { // then the top four bits count 16-bit words of frame check sequence
		c.fcs = byte(link >> 28 * 16)
	}
	c.block = LittleEndian.appendSection(c.block[:0], Options{})
	r.next = r.classicInterface
	r.section = new(sectionID)
	*b = Block{Type: BlockSection, Raw: c.block, section: r.section}
	return nil
}

// classicInterface returns the interface and takes the header that describes it.
func (r *Reader) classicInterface(b *Block) error {
	c := &r.classic
	i := &Interface{LinkType: c.link, SnapLen: c.snapLen}
	i.Options.AddBytes(IfTimeResolution, []byte{c.resolution})
	if c.fcs != 0 {
		i.Options.AddBytes(IfFCSLength, []byte{c.fcs})
	}
	i.clock = newClock(i.TimeResolution(), i.TimeOffset())
	r.interfaces = append(r.interfaces, i)
	c.block = LittleEndian.appendInterface(c.block[:0], i)
	r.window.take(classicHeader)
	r.next = r.nextRecord
	*b = Block{Type: BlockInterface, Raw: c.block, section: r.section, interfaces: r.interfaces}
	return nil
}

// nextRecord returns one record as a packet block.
func (r *Reader) nextRecord(b *Block) error {
	head, err := r.window.peek(classicRecord)
	if err != nil {
		return r.cut(err, len(head), classicRecord)
	}
	c := &r.classic
	captured := c.order.uint32(head[8:])
	if classicRecord+int64(captured) > int64(r.limits.MaxBlock) {
		return r.tooBig(captured)
	}
	total := classicRecord + int(captured)
	record, err := r.window.peek(total)
	if err != nil {
		return r.cut(err, len(record), total)
	}
	ticks := uint64(c.order.uint32(record))*c.scale + uint64(c.order.uint32(record[4:]))
	fields := packetFields{ticks: ticks, data: record[classicRecord:], length: c.order.uint32(record[12:])}
	c.block = LittleEndian.appendPacket(c.block[:0], fields, Options{})
	*b = Block{Type: BlockPacket, Offset: r.window.offset, Raw: c.block, section: r.section, interfaces: r.interfaces}
	r.window.take(total)
	return nil
}
