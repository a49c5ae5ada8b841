// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"iter"
	"math/bits"
	"net/netip"
)

// Interface is one place where packets were captured.
type Interface struct {
	ID       int // its number within the section that a Reader found it in
	LinkType LinkType
	SnapLen  uint32 // the most bytes taken of a packet; 0 is no limit
	Options  Options

	clock clock
}

const interfaceFixed = 8 // link type, reserved, snap length

// NewInterface describes an interface with nanosecond time stamps. SnapLen 0 is no limit. tcpdump
// reads a file only if all of its interfaces have the same link type and snap length.
func NewInterface(name, description string, link LinkType, snapLen uint32) *Interface {
	i := &Interface{LinkType: link, SnapLen: snapLen}
	i.Options.AddText(IfName, name)
	if description != "" {
		i.Options.AddText(IfDescription, description)
	}
	i.Options.AddBytes(IfTimeResolution, []byte{9})
	return i
}

// Name returns if_name, empty if there is none.
func (i *Interface) Name() string {
	name, _ := i.Options.Text(IfName)
	return name
}

// Description returns if_description, empty if there is none.
func (i *Interface) Description() string {
	description, _ := i.Options.Text(IfDescription)
	return description
}

// Filter returns the pcap-filter expression that packets had to match, empty if there is none.
func (i *Interface) Filter() string {
	opt, ok := i.Options.Find(IfFilter)
	if !ok || len(opt.Value) == 0 || opt.Value[0] != 0 {
		return ""
	}
	return string(opt.Value[1:])
}

// AddFilter notes the pcap-filter expression that packets had to match.
func (i *Interface) AddFilter(expression string) {
	i.Options.AddText(IfFilter, "\x00"+expression)
}

// TimeResolution returns the unit of time stamps as if_tsresol has it: 10^-n s, or 2^-n s with the top
// bit set. Times of packets and statistics are converted already.
func (i *Interface) TimeResolution() byte {
	opt, ok := i.Options.Find(IfTimeResolution)
	if !ok || len(opt.Value) != 1 {
		return 6 // microseconds, says the format
	}
	return opt.Value[0]
}

// TimeOffset returns the seconds that count on top of every time stamp. Times of packets and
// statistics have them already.
func (i *Interface) TimeOffset() int64 {
	offset, _ := i.Options.Uint64(IfTimeOffset)
	return int64(offset)
}

// Addresses yields the IP addresses of the interface, in order.
func (i *Interface) Addresses() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for opt := range i.Options.All() {
			if p, ok := opt.prefix(); ok && !yield(p) {
				return
			}
		}
	}
}

// prefix decodes IfIPv4Address and IfIPv6Address. A mask with holes is no prefix.
func (o Option) prefix() (netip.Prefix, bool) {
	switch {
	case o.Code == IfIPv4Address && len(o.Value) == 8:
		mask := BigEndian.uint32(o.Value[4:])
		ones := bits.LeadingZeros32(^mask)
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(o.Value)), ones), mask<<ones == 0
	case o.Code == IfIPv6Address && len(o.Value) == 17:
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte(o.Value)), int(o.Value[16]))
		return p, p.IsValid()
	}
	return netip.Prefix{}, false
}

// AddAddress appends an IP address of the interface, which must be valid. editcap and mergecap up to 4.6 leave it out.
func (i *Interface) AddAddress(p netip.Prefix) {
	if p.Addr().Is4() {
		mask := ^uint32(0) << (32 - p.Bits())
		i.Options.AddBytes(IfIPv4Address, BigEndian.append32(p.Addr().AsSlice(), mask))
		return
	}
	i.Options.AddBytes(IfIPv6Address, append(p.Addr().AsSlice(), byte(p.Bits())))
}

// interfaceBlock decodes a block of type BlockInterface. The options are copied: an interface
// outlives its block.
func (b *Block) interfaceBlock() (*Interface, error) {
	body, err := b.body(interfaceFixed)
	if err != nil {
		return nil, err
	}
	i := &Interface{
		ID:       len(b.interfaces),
		LinkType: LinkType(b.Order.uint16(body)),
		SnapLen:  b.Order.uint32(body[4:]),
		Options:  b.options(interfaceFixed).Clone(),
	}
	i.clock = newClock(i.TimeResolution(), i.TimeOffset())
	return i, nil
}
