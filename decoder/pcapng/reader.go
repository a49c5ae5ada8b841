// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Errors of a Reader that end the reading.
var (
	// ErrTooBig is returned for a block over ReaderOptions.MaxBlock.
	ErrTooBig = errors.New("block is over the size limit")
	// ErrTooManyInterfaces is returned for a section over ReaderOptions.MaxInterfaces or MaxDescriptions.
	ErrTooManyInterfaces = errors.New("section has too many interfaces")
	// ErrCut is returned, with io.ErrUnexpectedEOF, where a file that was read so far ends within a block.
	ErrCut = errors.New("cut short")
	// ErrFormat is returned for what is no capture file, and where one cannot be followed further.
	ErrFormat = errors.New("not a sound capture file")
)

// ReaderOptions are the limits of a Reader. The zero value has generous ones.
type ReaderOptions struct {
	MaxBlock      int // bytes of one block; 0 is 16 MiB
	MaxInterfaces int // of one section; 0 is 65536
	// MaxDescriptions is how many bytes the blocks of one section's interfaces may have together; 0 is 16 MiB.
	MaxDescriptions int

	Passed func(Block) // is called with each block that ReadPacket passes by, which is valid until it returns; may be nil
}

// Reader yields the blocks of a capture file: pcapng, classic pcap, or either of them in gzip.
//
// It reads no further than the block that it returns needs, so a live pipe works.
type Reader struct {
	window     window
	limits     ReaderOptions
	next       func(*Block) error
	block      Block // that Next returned last
	order      Order
	section    *sectionID
	interfaces []*Interface
	described  int // bytes of their blocks
	err        error

	classic classic
}

// NewReader reads src, which it leaves open. It reads nothing before the first call of Next.
func NewReader(src io.Reader, limits ReaderOptions) *Reader {
	if limits.MaxBlock <= 0 {
		limits.MaxBlock = 16 << 20
	}
	if limits.MaxInterfaces <= 0 {
		limits.MaxInterfaces = 1 << 16
	}
	if limits.MaxDescriptions <= 0 {
		limits.MaxDescriptions = 16 << 20
	}
	r := &Reader{window: window{src: src}, limits: limits}
	r.next = r.detect
	return r
}

// Next returns the next block, valid until the call after. The error is io.EOF at the end, and wraps
// io.ErrUnexpectedEOF if the file ends within a block; errors say at which offset. They are final:
// every later call returns the same one.
func (r *Reader) Next() (Block, error) {
	err := r.read(&r.block)
	return r.block, err
}

func (r *Reader) read(b *Block) error {
	if r.err == nil {
		r.err = r.next(b)
	}
	if r.err != nil {
		*b = Block{}
	}
	return r.err
}

// ReadPacket reads on to the next packet and decodes it into p, which is valid until the next call.
// It allocates nothing, save for the interfaces on its way. Errors are those of Next, and
// ErrMalformed for a packet that cannot be decoded: then p.Block is all that is valid of p, and the
// next call goes on behind it.
func (r *Reader) ReadPacket(p *Packet) error {
	for {
		if err := r.read(&p.Block); err != nil {
			return err
		}
		if p.Block.IsPacket() {
			return p.Block.Packet(p)
		}
		if r.limits.Passed != nil {
			r.limits.Passed(p.Block)
		}
	}
}

// Interfaces returns those that the section has had so far, by their number.
func (r *Reader) Interfaces() []*Interface { return r.interfaces[:len(r.interfaces):len(r.interfaces)] }

const magicLength = 4

// detect looks at the first bytes once, and reads on accordingly.
func (r *Reader) detect(b *Block) error {
	magic, err := r.window.peek(magicLength)
	if len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		return r.unzip(b)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return r.fail(fmt.Errorf("%d bytes are no capture: %w", len(magic), err))
	}
	if LittleEndian.uint32(magic) == uint32(BlockSection) {
		r.next = r.nextBlock
		return r.nextBlock(b)
	}
	for _, m := range classicMagics {
		if [magicLength]byte(magic) == m.bytes {
			r.classic.order, r.classic.resolution = m.order, m.resolution
			return r.startClassic(b)
		}
	}
	for _, c := range compressions {
		if [magicLength]byte(magic) == c.magic {
			return r.fail(fmt.Errorf("%w: compressed with %s; decompress it first", ErrFormat, c.name))
		}
	}
	return r.fail(fmt.Errorf("%w: begins with % x, want pcapng, pcap or gzip", ErrFormat, magic))
}

// compressions that Wireshark reads and the standard library does not.
var compressions = []struct {
	magic [magicLength]byte
	name  string
}{
	{[magicLength]byte{0x28, 0xb5, 0x2f, 0xfd}, "zstd"},
	{[magicLength]byte{0x04, 0x22, 0x4d, 0x18}, "lz4"},
}

// unzip starts over on what the compressed input holds.
func (r *Reader) unzip(b *Block) error {
	if r.window.unzipped {
		return r.fail(fmt.Errorf("%w: gzip within gzip", ErrFormat))
	}
	packed := r.window
	unpacked, err := gzip.NewReader(&packed)
	if err != nil {
		return r.fail(fmt.Errorf("gzip: %w", err))
	}
	r.window = window{src: unpacked, unzipped: true}
	return r.detect(b)
}

// nextBlock frames one block of pcapng. What is in it matters only if it changes the section.
func (r *Reader) nextBlock(b *Block) error {
	head, err := r.window.peek(blockOverhead)
	if err != nil {
		return r.cut(err, len(head), blockOverhead)
	}
	b.Type, b.Order, b.Offset = BlockType(r.order.uint32(head)), r.order, r.window.offset
	if b.Type == BlockSection {
		if b.Order, err = r.sectionOrder(head); err != nil {
			return err
		}
	}
	total, err := r.length(b.Order.uint32(head[4:]))
	if err != nil {
		return err
	}
	if b.Raw, err = r.window.peek(total); err != nil {
		return r.cut(err, len(b.Raw), total)
	}
	if again := b.Order.uint32(b.Raw[total-4:]); again != uint32(total) {
		return r.fail(fmt.Errorf("%w: block of %d bytes says %d at its end", ErrFormat, total, again))
	}
	if b.Type == BlockSection || b.Type == BlockInterface {
		if err := r.observe(b); err != nil {
			return err
		}
	}
	b.section, b.interfaces = r.section, r.interfaces
	r.window.take(total)
	return nil
}

func (r *Reader) sectionOrder(head []byte) (Order, error) {
	for _, order := range []Order{LittleEndian, BigEndian} {
		if order.uint32(head[8:]) == byteOrderMagic {
			return order, nil
		}
	}
	return 0, r.fail(fmt.Errorf("%w: section without a byte-order magic", ErrFormat))
}

func (r *Reader) length(total uint32) (int, error) {
	if total < blockOverhead || total%4 != 0 {
		return 0, r.fail(fmt.Errorf("%w: block of %d bytes", ErrFormat, total))
	}
	if int64(total) > int64(r.limits.MaxBlock) {
		return 0, r.tooBig(total)
	}
	return int(total), nil
}

// observe takes note of a block that says how to read those behind it, so it must be sound.
func (r *Reader) observe(b *Block) error {
	if b.Type == BlockSection {
		s, err := b.Section()
		if err != nil {
			return fmt.Errorf("%w: %v", ErrFormat, err)
		}
		if s.Major != 1 || s.Minor != 0 && s.Minor != 2 { // 1.2 is 1.0, says the draft
			return r.fail(fmt.Errorf("%w: pcapng version %d.%d, want 1.0", ErrFormat, s.Major, s.Minor))
		}
		r.order, r.section, r.interfaces, r.described = b.Order, new(sectionID), nil, 0
		return nil
	}
	if len(r.interfaces) >= r.limits.MaxInterfaces {
		return r.fail(fmt.Errorf("%w: more than %d", ErrTooManyInterfaces, r.limits.MaxInterfaces))
	}
	if r.described += len(b.Raw); r.described > r.limits.MaxDescriptions {
		return r.fail(fmt.Errorf("%w: their blocks have more than %d bytes", ErrTooManyInterfaces, r.limits.MaxDescriptions))
	}
	b.interfaces = r.interfaces
	i, err := b.interfaceBlock()
	if err != nil { // not to be skipped: those behind it would get the wrong numbers
		return fmt.Errorf("%w: %v", ErrFormat, err)
	}
	r.interfaces = append(r.interfaces, i)
	return nil
}

// fail says at which offset of the input (after gzip) it happened.
func (r *Reader) fail(err error) error {
	return fmt.Errorf("offset %d: %w", r.window.offset, err)
}

// cut is the error of input that ends too soon; between two blocks it is no error.
func (r *Reader) cut(err error, have, want int) error {
	if err == io.EOF {
		return err
	}
	cut := fmt.Errorf("%d of %d bytes are there: %w", have, want, err)
	if err == io.ErrUnexpectedEOF && r.window.offset > 0 {
		cut = fmt.Errorf("%w: %w", ErrCut, cut)
	}
	return r.fail(cut)
}

func (r *Reader) tooBig(size uint32) error {
	return r.fail(fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooBig, size, r.limits.MaxBlock))
}
