// SPDX-License-Identifier: Apache-2.0

package pcapng

const sectionLengthUnknown = 1<<64 - 1

// beginBlock appends the head of a block, and endBlock its length, at both ends. Between them the
// body is appended, padded to 32 bits.
func (o Order) beginBlock(b []byte, t BlockType) []byte {
	return o.append32(o.append32(b, uint32(t)), 0)
}

func (o Order) endBlock(b []byte, start int) []byte {
	total := uint32(len(b) - start + 4)
	o.put32(b[start+4:], total)
	return o.append32(b, total)
}

// appendOptions ends the list with its marker. An empty one needs none.
func (o Order) appendOptions(b []byte, t BlockType, list Options) []byte {
	if list.Empty() {
		return b
	}
	b = o.translateOptions(b, t, list)
	return o.append32(b, uint32(OptEnd))
}

func (o Order) appendSection(b []byte, options Options) []byte {
	start := len(b)
	b = o.beginBlock(b, BlockSection)
	b = o.append32(b, byteOrderMagic)
	b = o.append16(o.append16(b, 1), 0)
	b = o.append64(b, sectionLengthUnknown)
	b = o.appendOptions(b, BlockSection, options)
	return o.endBlock(b, start)
}

func (o Order) appendInterface(b []byte, i *Interface) []byte {
	start := len(b)
	b = o.beginBlock(b, BlockInterface)
	b = o.append16(o.append16(b, uint16(i.LinkType)), 0)
	b = o.append32(b, i.SnapLen)
	b = o.appendOptions(b, BlockInterface, i.Options)
	return o.endBlock(b, start)
}

// packetFields are those of a packet block as they are stored.
type packetFields struct {
	id     uint32 // of the interface
	ticks  uint64
	data   []byte
	length uint32
}

func (o Order) appendPacket(b []byte, p packetFields, options Options) []byte {
	start := len(b)
	b = o.beginBlock(b, BlockPacket)
	b = o.append32(b, p.id)
	b = o.append32Pair(b, p.ticks)
	b = o.append32(b, uint32(len(p.data)))
	b = o.append32(b, p.length)
	b = pad(append(b, p.data...), start)
	b = o.appendOptions(b, BlockPacket, options)
	return o.endBlock(b, start)
}

func (o Order) appendStatistics(b []byte, id uint32, ticks uint64, options Options) []byte {
	start := len(b)
	b = o.beginBlock(b, BlockStatistics)
	b = o.append32Pair(o.append32(b, id), ticks)
	b = o.appendOptions(b, BlockStatistics, options)
	return o.endBlock(b, start)
}

func (o Order) appendNames(b []byte, names []Name, options Options) []byte {
	start := len(b)
	b = o.beginBlock(b, BlockNames)
	for _, n := range names {
		b = o.appendName(b, n)
	}
	b = o.append32(b, nameEnd)
	b = o.appendOptions(b, BlockNames, options)
	return o.endBlock(b, start)
}

func (o Order) appendSecrets(b []byte, s Secrets) []byte {
	start := len(b)
	b = o.beginBlock(b, BlockSecrets)
	b = o.append32(o.append32(b, s.Type), uint32(len(s.Data)))
	b = pad(append(b, s.Data...), start)
	b = o.appendOptions(b, BlockSecrets, s.Options)
	return o.endBlock(b, start)
}

func (o Order) appendCustom(b []byte, c Custom) []byte {
	start := len(b)
	t := BlockCustomNoCopy
	if c.Copy {
		t = BlockCustom
	}
	b = o.beginBlock(b, t)
	b = pad(append(o.append32(b, c.Enterprise), c.Data...), start)
	return o.endBlock(b, start)
}
