// SPDX-License-Identifier: Apache-2.0

package pcapng

// Section is the head of a section: everything until the next one has its byte order, and counts
// interfaces from 0.
type Section struct {
	Order        Order
	Major, Minor uint16
	Length       int64 // of the section without its head; -1 if unknown. It is not relied on.
	Options      Options
}

const (
	byteOrderMagic = 0x1A2B3C4D
	sectionFixed   = 16 // magic, versions, length
)

// Section decodes a block of type BlockSection.
func (b *Block) Section() (Section, error) {
	if b.Type != BlockSection {
		return Section{}, b.wrong("section header")
	}
	body, err := b.body(sectionFixed)
	if err != nil {
		return Section{}, err
	}
	return Section{
		Order:   b.Order,
		Major:   b.Order.uint16(body[4:]),
		Minor:   b.Order.uint16(body[6:]),
		Length:  int64(b.Order.uint64(body[8:])),
		Options: b.options(sectionFixed),
	}, nil
}
