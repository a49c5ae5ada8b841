// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"errors"
	"fmt"
	"io"
)

// Errors of a Writer that refuse one block; nothing of it is written, and the next one may follow.
var (
	// ErrNoSection is returned for a block before the first section.
	ErrNoSection = errors.New("no section begun")
	// ErrNoInterface is returned for a block of an interface that the section does not have.
	ErrNoInterface = errors.New("interface was not added to the section")
	// ErrByteOrder is returned for a block of the other byte order whose layout is not known.
	ErrByteOrder = errors.New("byte order of an unknown block differs from the section's")
)

// WriterOptions change what a Writer writes. The zero value is right for a new capture.
type WriterOptions struct {
	Order Order // of the sections that WriteSection begins
	// Subset says that blocks are left out, so that the length of a section that is passed through
	// would be wrong. It becomes "unknown".
	Subset bool
}

// Writer writes pcapng. It gives whole blocks to its destination, so that a file is sound at every
// moment, and collects them until there are 64 KiB or Flush is called.
type Writer struct {
	dst     io.Writer
	options WriterOptions
	buf     []byte
	flushed int64
	err     error // of dst; final

	begun      bool
	order      Order
	interfaces map[*Interface]uint32 // number in the section
	count      uint32                // of interfaces in the section
	section    *sectionID            // that is passed through, if any
	pure       bool                  // the interfaces are those of section, with their numbers
}

const writerBuffer = 64 << 10

// NewWriter writes to dst, which it neither flushes nor closes.
func NewWriter(dst io.Writer, options WriterOptions) *Writer {
	return &Writer{dst: dst, options: options, interfaces: make(map[*Interface]uint32)}
}

// Size is the length of what was written so far, in the buffer or out of it.
func (w *Writer) Size() int64 { return w.flushed + int64(len(w.buf)) }

// Flush writes what is in the buffer.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.buf) > 0 {
		var n int
		n, w.err = w.dst.Write(w.buf)
		w.flushed += int64(n)
		w.buf = w.buf[:0]
	}
	return w.err
}

// emit takes buf as the buffer with one more block in it.
func (w *Writer) emit(buf []byte) error {
	w.buf = buf
	if len(w.buf) >= writerBuffer {
		return w.Flush()
	}
	return w.err
}

// ready refuses what cannot be written.
func (w *Writer) ready(options Options) error {
	switch {
	case w.err != nil:
		return w.err
	case !w.begun:
		return ErrNoSection
	}
	return options.err
}

// WriteSection begins a section. It has no interfaces yet.
func (w *Writer) WriteSection(options Options) error {
	if w.err != nil || options.err != nil {
		return errors.Join(w.err, options.err)
	}
	w.begin(w.options.Order)
	return w.emit(w.order.appendSection(w.buf, options))
}

func (w *Writer) begin(order Order) {
	w.begun, w.order, w.count = true, order, 0
	w.section, w.pure = nil, false
	clear(w.interfaces)
}

// AddInterface writes an interface, new or from a Reader, unless the section has it already. From
// then on packets and blocks of i can be written. The same i may be added to many files.
func (w *Writer) AddInterface(i *Interface) error {
	if err := w.ready(i.Options); err != nil {
		return err
	}
	if _, ok := w.interfaces[i]; ok {
		return nil
	}
	i.clock = newClock(i.TimeResolution(), i.TimeOffset())
	w.pure = false
	w.register(i)
	return w.emit(w.order.appendInterface(w.buf, i))
}

func (w *Writer) register(i *Interface) {
	w.interfaces[i] = w.count
	w.count++
}

func (w *Writer) number(i *Interface) (uint32, error) {
	id, ok := w.interfaces[i]
	if !ok {
		return 0, ErrNoInterface
	}
	return id, nil
}

// WritePacket writes a packet of an interface that was added. A Length less than len(Data) counts
// as len(Data). The time is rounded down to the unit of the interface.
func (w *Writer) WritePacket(p *Packet) error {
	if err := w.ready(p.Options); err != nil {
		return err
	}
	id, err := w.number(p.Interface)
	if err != nil {
		return err
	}
	ticks, err := p.Interface.clock.ticks(p.Time)
	if err != nil {
		return fmt.Errorf("packet at %d ns on %q: %w", p.Time, p.Interface.Name(), err)
	}
	options := p.Options
	if p.Block.Type == BlockOldPacket { // it counted in a field of its own
		if drops, ok := p.DropCount(); ok && drops > 0 {
			options.AddUint64(PacketDropCount, drops)
		}
	}
	fields := packetFields{id, ticks, p.Data, max(p.Length, uint32(len(p.Data)))}
	return w.emit(w.order.appendPacket(w.buf, fields, options))
}

// WriteNames writes what addresses are called. It applies to the packets behind it.
func (w *Writer) WriteNames(names []Name, options Options) error {
	if err := w.ready(options); err != nil {
		return err
	}
	for _, n := range names {
		if !n.Address.IsValid() || n.Name == "" || len(n.Name) > maxName {
			return fmt.Errorf("name of %d bytes for address %v cannot be written", len(n.Name), n.Address)
		}
	}
	return w.emit(w.order.appendNames(w.buf, names, options))
}

// WriteStatistics writes what an interface that was added has counted.
func (w *Writer) WriteStatistics(s *Statistics) error {
	if err := w.ready(s.Options); err != nil {
		return err
	}
	id, err := w.number(s.Interface)
	if err != nil {
		return err
	}
	ticks, err := s.Interface.clock.ticks(s.Time)
	if err != nil {
		return fmt.Errorf("statistics of %q: %w", s.Interface.Name(), err)
	}
	return w.emit(w.order.appendStatistics(w.buf, id, ticks, s.Options))
}

// WriteSecrets writes keys, which must come before the packets that they decrypt.
func (w *Writer) WriteSecrets(s Secrets) error {
	if err := w.ready(s.Options); err != nil {
		return err
	}
	return w.emit(w.order.appendSecrets(w.buf, s))
}

// WriteCustom writes a custom block. Wireshark shows each as a row of its own among the packets, so
// few is better; a custom option of the section is not shown.
func (w *Writer) WriteCustom(c Custom) error {
	if err := w.ready(Options{}); err != nil {
		return err
	}
	return w.emit(w.order.appendCustom(w.buf, c))
}
