// SPDX-License-Identifier: Apache-2.0

package pcapng

import "fmt"

// numbers says where an option holds numbers that follow the byte order of the section: the width
// of each in bytes, from the start of the value. Everything else is bytes or text. Options that are
// not in the table are copied as they are.
type numbers []int

// optionNumbers is for codes whose meaning depends on the block.
var optionNumbers = map[BlockType]map[OptionCode]numbers{
	BlockInterface: {
		IfSpeed: {8}, IfTimeOffset: {8}, IfTxSpeed: {8}, IfRxSpeed: {8},
	},
	BlockPacket: {
		PacketFlags: {4}, PacketDropCount: {8}, PacketID: {8}, PacketQueue: {4},
		PacketVerdict: {1, 8}, PacketProcess: {4, 4}, PacketProcessIndex: {4},
	},
	BlockOldPacket: {PacketFlags: {4}},
	BlockStatistics: {
		StatStart: {4, 4}, StatEnd: {4, 4}, StatReceived: {8}, StatDropped: {8},
		StatAccepted: {8}, StatOSDropped: {8}, StatDelivered: {8},
	},
}

// numbersIn is the row for an option. A verdict of the hardware has no known layout.
func numbersIn(t BlockType, opt Option) numbers {
	switch opt.Code {
	case OptCustomText, OptCustomBytes, OptCustomTextNoCopy, OptCustomBytesNoCopy:
		return numbers{4}
	case PacketVerdict:
		if t == BlockPacket && (len(opt.Value) == 0 || !VerdictKind(opt.Value[0]).numeric()) {
			return nil
		}
	}
	return optionNumbers[t][opt.Code]
}

// translateOptions appends the options of a block of type t, without an end marker, in order o.
func (o Order) translateOptions(b []byte, t BlockType, list Options) []byte {
	if list.order == o {
		at := len(b)
		return pad(append(b, list.raw[:list.end()]...), at)
	}
	for opt := range list.All() {
		b = o.append16(o.append16(b, uint16(opt.Code)), uint16(len(opt.Value)))
		at := len(b)
		b = append(b, opt.Value...)
		swap(b[at:], numbersIn(t, opt))
		b = pad(b, at)
	}
	return b
}

// swap reverses the numbers at the beginning of value. One that is cut off stays as it is.
func swap(value []byte, widths numbers) {
	for _, n := range widths {
		if n > len(value) {
			return
		}
		for i := range n / 2 {
			value[i], value[n-1-i] = value[n-1-i], value[i]
		}
		value = value[n:]
	}
}

// translate appends a block of the other byte order in order o. Its interface becomes number id.
func (o Order) translate(dst []byte, b *Block, id int64) ([]byte, error) {
	switch b.Type {
	case BlockPacket:
		return o.translatePacket(dst, b, id)
	case BlockOldPacket:
		return o.translateOldPacket(dst, b, id)
	case BlockStatistics:
		body, err := b.body(statisticsFixed)
		if err != nil || id == keepNumber {
			return nil, b.malformed("statistics of no known interface")
		}
		return o.appendStatistics(dst, uint32(id), b.Order.uint32Pair(body[4:]), b.options(statisticsFixed)), nil
	case BlockNames:
		return o.translateNames(dst, b)
	case BlockSecrets:
		s, err := b.Secrets()
		if err != nil {
			return nil, err
		}
		return o.appendSecrets(dst, s), nil
	case BlockCustom, BlockCustomNoCopy:
		c, err := b.CustomBlock()
		if err != nil {
			return nil, err
		}
		return o.appendCustom(dst, c), nil
	case BlockSimplePacket, BlockJournal, BlockProcess:
		return o.translateWords(dst, b)
	}
	return nil, fmt.Errorf("offset %d: type %#x: %w", b.Offset, uint32(b.Type), ErrByteOrder)
}

func (o Order) translatePacket(dst []byte, b *Block, id int64) ([]byte, error) {
	var p Packet
	if err := b.packet(&p); err != nil {
		return nil, err
	}
	ticks := b.Order.uint32Pair(b.Body()[4:])
	return o.appendPacket(dst, packetFields{uint32(id), ticks, p.Data, p.Length}, p.Options), nil
}

func (o Order) translateOldPacket(dst []byte, b *Block, id int64) ([]byte, error) {
	var p Packet
	if err := b.packet(&p); err != nil {
		return nil, err
	}
	body, start := b.Body(), len(dst)
	dst = o.beginBlock(dst, b.Type)
	dst = o.append16(o.append16(dst, uint16(id)), b.Order.uint16(body[2:]))
	dst = o.append32Pair(dst, b.Order.uint32Pair(body[4:]))
	dst = o.append32(o.append32(dst, uint32(len(p.Data))), p.Length)
	dst = pad(append(dst, p.Data...), start)
	dst = o.appendOptions(dst, b.Type, p.Options)
	return o.endBlock(dst, start), nil
}

func (o Order) translateNames(dst []byte, b *Block) ([]byte, error) {
	start := len(dst)
	dst = o.beginBlock(dst, b.Type)
	at, err := b.nameRecords(func(kind uint16, value []byte) bool {
		dst = o.append16(o.append16(dst, kind), uint16(len(value)))
		dst = pad(append(dst, value...), start)
		return true
	})
	if err != nil {
		return nil, err
	}
	dst = o.append32(dst, nameEnd)
	dst = o.appendOptions(dst, b.Type, b.options(at))
	return o.endBlock(dst, start), nil
}

// translateWords is for what begins with one 32-bit number at most and goes on with bytes or options.
func (o Order) translateWords(dst []byte, b *Block) ([]byte, error) {
	start, body := len(dst), b.Body()
	dst = o.beginBlock(dst, b.Type)
	if b.Type != BlockJournal { // which is text
		if len(body) < 4 {
			return nil, b.malformed("%d bytes", len(body))
		}
		dst = o.append32(dst, b.Order.uint32(body))
		body = body[4:]
	}
	if b.Type == BlockProcess {
		dst = o.appendOptions(dst, b.Type, b.options(4))
	} else {
		dst = append(dst, body...)
	}
	return o.endBlock(dst, start), nil
}
