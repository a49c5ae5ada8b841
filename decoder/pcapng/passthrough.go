// SPDX-License-Identifier: Apache-2.0

package pcapng

import "math"

// WriteBlock writes a block that a Reader gave: byte for byte, if the section has its byte order and
// its interface the same number. That is so when every section and interface of one file is passed
// through. To merge files into one section, leave out their section blocks: WriteBlock gives their
// interfaces new numbers, and translates the byte order of what it knows.
func (w *Writer) WriteBlock(b Block) error {
	if w.err != nil {
		return w.err
	}
	if !b.framed() {
		return b.malformed("%d bytes are not as long as they say", len(b.Raw))
	}
	if b.Type == BlockSection {
		return w.passSection(&b)
	}
	if !w.begun {
		return ErrNoSection
	}
	if b.Type == BlockInterface {
		return w.passInterface(&b)
	}
	id, err := w.renumber(&b)
	if err != nil {
		return err
	}
	if b.Order != w.order {
		buf, err := w.order.translate(w.buf, &b, id)
		if err != nil {
			return err
		}
		return w.emit(buf)
	}
	at := len(w.buf)
	buf := append(w.buf, b.Raw...)
	switch b.Type {
	case BlockPacket, BlockStatistics:
		if id != keepNumber {
			w.order.put32(buf[at+8:], uint32(id))
		}
	case BlockOldPacket:
		if id != keepNumber {
			w.order.put16(buf[at+8:], uint16(id))
		}
	}
	return w.emit(buf)
}

func (w *Writer) passSection(b *Block) error {
	if _, err := b.Section(); err != nil {
		return err
	}
	w.begin(b.Order)
	w.section, w.pure = b.section, true
	at := len(w.buf)
	buf := append(w.buf, b.Raw...)
	if w.options.Subset {
		copy(buf[at+16:at+24], "\xff\xff\xff\xff\xff\xff\xff\xff")
	}
	return w.emit(buf)
}

func (w *Writer) passInterface(b *Block) error {
	if len(b.interfaces) == 0 {
		return b.wrong("interface of a Reader")
	}
	i := b.interfaces[len(b.interfaces)-1]
	if b.Order != w.order {
		return w.AddInterface(i)
	}
	w.pure = w.pure && b.section == w.section
	w.register(i)
	return w.emit(append(w.buf, b.Raw...))
}

const keepNumber = -1 // the block names no interface, or an unknown one

// renumber returns the number that the interface of a block has here.
func (w *Writer) renumber(b *Block) (int64, error) {
	if b.section == nil {
		return keepNumber, nil
	}
	i, err := b.namedInterface()
	if err != nil {
		if w.pure && b.section == w.section {
			return keepNumber, nil
		}
		return 0, err // the number that it names could be another interface's
	}
	if i == nil {
		return keepNumber, nil
	}
	id, err := w.number(i)
	if err != nil {
		return 0, err
	}
	if b.Type == BlockSimplePacket && id != 0 || b.Type == BlockOldPacket && id > math.MaxUint16 {
		return 0, b.malformed("cannot name interface %d", id)
	}
	return int64(id), nil
}

// namedInterface is the one that a block belongs to; nil if blocks of its type belong to none.
func (b *Block) namedInterface() (*Interface, error) {
	switch b.Type {
	case BlockSimplePacket:
		return b.interfaceAt(0)
	case BlockPacket, BlockStatistics, BlockOldPacket:
		body, err := b.body(4)
		if err != nil {
			return nil, err
		}
		if b.Type == BlockOldPacket {
			return b.interfaceAt(uint32(b.Order.uint16(body)))
		}
		return b.interfaceAt(b.Order.uint32(body))
	}
	return nil, nil
}

// framed reports whether both lengths are those of the block: of one that is made by hand they may
// not be, and everything behind it would be lost.
func (b *Block) framed() bool {
	n := len(b.Raw)
	return n >= blockOverhead && n%4 == 0 &&
		uint64(b.Order.uint32(b.Raw[4:])) == uint64(n) && uint64(b.Order.uint32(b.Raw[n-4:])) == uint64(n)
}
