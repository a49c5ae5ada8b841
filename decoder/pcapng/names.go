// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"iter"
	"math"
	"net/netip"
)

// Name ties an address to what people call it. Wireshark shows the first 63 bytes, and applies a name
// to the packets behind the block that holds it.
type Name struct {
	Address netip.Addr
	Name    string
}

// maxName is what the length of a record leaves for one name behind an IPv6 address, if each of its
// bytes has to be replaced by U+FFFD, which takes three.
const maxName = (math.MaxUint16 - 16 - 1) / 3

// Types of the records of a names block. Two more, for hardware addresses, pass through unread.
const (
	nameEnd  = 0
	nameIPv4 = 1
	nameIPv6 = 2
)

// Names returns an iterator over the IP addresses of a block of type BlockNames. A record of another
// kind, or one without a name, is left out.
func (b *Block) Names() (iter.Seq[Name], error) {
	if b.Type != BlockNames {
		return nil, b.wrong("names block")
	}
	if _, err := b.nameRecords(func(uint16, []byte) bool { return true }); err != nil {
		return nil, err
	}
	return func(yield func(Name) bool) {
		b.nameRecords(func(kind uint16, value []byte) bool { return yieldNames(kind, value, yield) })
	}, nil
}

// NamesOptions returns the options of a block of type BlockNames: the server that knew the names.
func (b *Block) NamesOptions() (Options, error) {
	if b.Type != BlockNames {
		return Options{}, b.wrong("names block")
	}
	at, err := b.nameRecords(func(uint16, []byte) bool { return true })
	return b.options(at), err
}

// nameRecords calls yield with every record until that says no, and returns where the options begin.
func (b *Block) nameRecords(yield func(kind uint16, value []byte) bool) (int, error) {
	body := b.Body()
	for at := 0; at+4 <= len(body); {
		kind, n := b.Order.uint16(body[at:]), int(b.Order.uint16(body[at+2:]))
		at += 4
		if kind == nameEnd {
			return at, nil
		}
		if n > len(body)-at {
			return at, b.malformed("name record of %d bytes, %d are there", n, len(body)-at)
		}
		if !yield(kind, body[at:at+n]) {
			return at, nil
		}
		at += align(n)
	}
	return len(body), nil
}

func yieldNames(kind uint16, value []byte, yield func(Name) bool) bool {
	size := 4
	if kind == nameIPv6 {
		size = 16
	}
	if kind != nameIPv4 && kind != nameIPv6 || len(value) < size {
		return true
	}
	address, _ := netip.AddrFromSlice(value[:size])
	for name := range bytes.SplitSeq(bytes.TrimSuffix(value[size:], []byte{0}), []byte{0}) {
		if len(name) > 0 && !yield(Name{address, string(name)}) {
			return false
		}
	}
	return true
}

// appendName appends one record. A NUL would end the name, and what follows would be another one.
func (o Order) appendName(b []byte, n Name) []byte {
	address := n.Address.Unmap().AsSlice()
	kind := uint16(nameIPv6)
	if len(address) == 4 {
		kind = nameIPv4
	}
	name := bytes.ReplaceAll([]byte(n.Name), []byte{0}, nil)
	name = bytes.ToValidUTF8(name, []byte("\uFFFD"))
	b = o.append16(o.append16(b, kind), uint16(len(address)+len(name)+1))
	at := len(b)
	b = append(append(append(b, address...), name...), 0)
	return pad(b, at)
}
