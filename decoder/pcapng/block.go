// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"errors"
	"fmt"
	"slices"
)

// ErrMalformed is returned for a block whose content contradicts its length. Its bytes are still
// there to be passed through, and a Reader goes on with the next block.
var ErrMalformed = errors.New("malformed block")

// Block is one block as the file has it.
//
// What a Reader returns aliases its buffer and is valid until the next call; Clone it to keep it.
//
// A block that is made by hand, of Type, Order and Raw, has the numbers of the interfaces of the Writer
// that it is given to.
//
// The blocks of a classic pcap file are made up: a section, an interface, and one packet per record.
type Block struct {
	Type   BlockType
	Order  Order
	Offset int64  // of the block (or record) in the input, after gzip
	Raw    []byte // everything, from the type to the second length

	section    *sectionID   // nil if no Reader made the block
	interfaces []*Interface // of the section up to this block
}

// sectionID distinguishes sections, also those of different files.
type sectionID struct{ _ byte } // of a size, or all would have one address

const blockOverhead = 12 // type, length, length again

// Body returns what is between the header and the trailing length.
func (b *Block) Body() []byte {
	if len(b.Raw) < blockOverhead {
		return nil
	}
	return b.Raw[8 : len(b.Raw)-4 : len(b.Raw)-4]
}

// Clone returns a block that shares no memory with the Reader's buffer.
func (b Block) Clone() Block {
	b.Raw = slices.Clone(b.Raw)
	return b
}

// body returns at least n bytes of fixed fields and everything behind them.
func (b *Block) body(n int) ([]byte, error) {
	body := b.Body()
	if len(body) < n {
		return nil, b.malformed("%d bytes, at least %d needed", len(body), n)
	}
	return body, nil
}

// options is the list that begins at offset at of the body.
func (b *Block) options(at int) Options {
	body := b.Body()
	return Options{raw: body[min(at, len(body)):], order: b.Order}
}

func (b *Block) malformed(format string, args ...any) error {
	return fmt.Errorf("offset %d: %w of type %#x: %s", b.Offset, ErrMalformed, uint32(b.Type), fmt.Sprintf(format, args...))
}

// wrong is the error of a view that is asked of another type of block.
func (b *Block) wrong(want string) error {
	return fmt.Errorf("offset %d: block of type %#x is no %s", b.Offset, uint32(b.Type), want)
}

// interfaceAt finds the interface that a block names.
func (b *Block) interfaceAt(id uint32) (*Interface, error) {
	if uint64(id) >= uint64(len(b.interfaces)) {
		return nil, b.malformed("names interface %d of %d", id, len(b.interfaces))
	}
	return b.interfaces[id], nil
}
