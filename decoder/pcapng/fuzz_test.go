// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// seed gives a fuzz target one capture of every kind, as it is and as framed wants it.
func seed(f *testing.F) {
	little, big := annotated(f, LittleEndian), annotated(f, BigEndian)
	whole := [][]byte{
		little, big, slices.Concat(little, big), zip(little), swapClassic(capture(f, "tcpdump-nano.pcap")),
		[]byte(section + ethernet + simplePacket), []byte(section + ethernet + oldPacket), []byte(section + nameRecords),
	}
	for _, file := range captures(f) {
		whole = append(whole, file)
	}
	for _, capture := range whole {
		f.Add(capture, false)
		blocks, err := readAll(bytes.NewReader(capture))
		if err != nil {
			f.Fatal(err)
		}
		var bodies []byte
		for _, b := range blocks[1:] {
			kind := slices.Index(framedTypes, b.Type)
			bodies = append(LittleEndian.append16(append(bodies, byte(kind)), uint16(len(b.Body()))), b.Body()...)
		}
		f.Add(bodies, true)
	}
}

var framedTypes = []BlockType{
	BlockInterface, BlockPacket, BlockOldPacket, BlockSimplePacket, BlockNames, BlockStatistics,
	BlockSecrets, BlockJournal, BlockCustom, BlockCustomNoCopy, BlockProcess, 0x12345678,
}

// framed makes a capture out of the types, lengths and bodies of blocks. Without it hardly any
// change of the fuzzer's would have the same length at both ends of a block. The top bits of
// the type choose how often a section of either byte order begins before the block.
func framed(bodies []byte) []byte {
	capture, order := []byte(section), LittleEndian
	for len(bodies) >= 3 {
		kind, n := bodies[0], int(LittleEndian.uint16(bodies[1:]))
		bodies = bodies[3:]
		body := bodies[:min(n, len(bodies))]
		bodies = bodies[len(body):]
		if kind >= 0xc0 {
			order = Order(kind & 1)
			capture = order.appendSection(capture, Options{})
		}
		start := len(capture)
		capture = order.beginBlock(capture, framedTypes[int(kind&0x3f)%len(framedTypes)])
		capture = order.endBlock(pad(append(capture, body...), start), start)
	}
	return capture
}

// fuzzLimit bounds what one input may unpack to; a bomb would only make the search slow.
const fuzzLimit = 1 << 20

// FuzzReader looks at everything that a capture can be asked for.
func FuzzReader(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, capture []byte, bodies bool) {
		if bodies {
			capture = framed(capture)
		}
		r := NewReader(bytes.NewReader(capture), ReaderOptions{MaxBlock: fuzzLimit, MaxInterfaces: 100})
		read := 0
		for read < fuzzLimit { // ends: every block has bytes
			b, err := r.Next()
			if err != nil {
				if _, again := r.Next(); again != err {
					t.Fatalf("error %v became %v", err, again)
				}
				break
			}
			read += len(b.Raw)
			look(t, &b)
		}
		if len(r.Interfaces()) > 100 {
			t.Fatalf("%d interfaces", len(r.Interfaces()))
		}
	})
}

// look calls every view of a block, which must not panic whatever its type.
func look(t *testing.T, b *Block) {
	var p Packet
	if err := b.Packet(&p); err == nil {
		lookAtPacket(t, &p)
	} else if b.IsPacket() == bytes.Contains([]byte(err.Error()), []byte("is no packet")) {
		t.Fatalf("type %#x: %v", uint32(b.Type), err)
	}
	if s, err := b.Section(); err == nil {
		lookAtOptions(t, s.Options)
	}
	if names, err := b.Names(); err == nil {
		for n := range names {
			if !n.Address.IsValid() || n.Name == "" {
				t.Fatalf("got name %v", n)
			}
		}
	}
	if o, err := b.NamesOptions(); err == nil {
		lookAtOptions(t, o)
	}
	if s, err := b.Statistics(); err == nil {
		s.When(StatStart)
		lookAtOptions(t, s.Options)
	}
	if s, err := b.Secrets(); err == nil {
		lookAtOptions(t, s.Options)
	}
	if c, err := b.CustomBlock(); err == nil && len(c.Data) > len(b.Raw) {
		t.Fatal("a custom block grew")
	}
}

func lookAtPacket(t *testing.T, p *Packet) {
	if p.Interface == nil || len(p.Data) > len(p.Block.Raw) {
		t.Fatalf("%d bytes of packet in a block of %d, interface %v", len(p.Data), len(p.Block.Raw), p.Interface)
	}
	if pdu, ok := ParseUpperPDU(p.Data); ok && len(pdu.Payload) > len(p.Data) {
		t.Fatal("an event grew")
	}
	p.Interface.Name()
	p.Interface.Description()
	p.Interface.Filter()
	p.DropCount()
	p.ID()
	p.Flags()
	p.Process()
	for a := range p.Interface.Addresses() {
		if !a.IsValid() {
			t.Fatalf("got address %v", a)
		}
	}
	for h := range p.Hashes() {
		if len(h.Sum) > len(p.Block.Raw) {
			t.Fatal("a hash grew")
		}
	}
	for v := range p.Verdicts() {
		if len(v.Data) > len(p.Block.Raw) {
			t.Fatal("a verdict grew")
		}
	}
	lookAtOptions(t, p.Options)
}

// lookAtOptions adds to a list that aliases the block; the fuzzer's bytes must not change.
func lookAtOptions(t *testing.T, o Options) {
	before := list(o)
	raw := slices.Clone(o.raw)
	changed := o
	changed.AddComment("added")
	if !bytes.Equal(o.raw, raw) {
		t.Fatal("adding wrote into the block")
	}
	if after := list(changed); len(after) != len(before)+1 || o.Empty() != (len(before) == 0) {
		t.Fatalf("%d options became %d", len(before), len(after))
	}
	for _, comment := range o.Comments() {
		ParseComment(comment)
	}
	o.JSON()
	o.Malformed()
}

// FuzzRoundTrip wants whatever can be read to pass through unchanged, and translation to another byte
// order and back to change nothing either.
func FuzzRoundTrip(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, capture []byte, bodies bool) {
		if bodies {
			capture = framed(capture)
		}
		r := NewReader(bytes.NewReader(capture), ReaderOptions{MaxBlock: fuzzLimit})
		var blocks []Block
		for len(blocks) < 1000 {
			b, err := r.Next()
			if err != nil {
				break
			}
			blocks = append(blocks, b.Clone())
		}
		if len(blocks) == 0 {
			return
		}
		got := passThrough(t, blocks)
		if capture[0] == '\n' && !bytes.HasPrefix(capture, got) { // neither packed nor classic
			t.Fatalf("% x\nbecame\n% x", capture, got)
		}
		little := mergedLeniently(t, got, LittleEndian)
		big := mergedLeniently(t, little, BigEndian)
		again := mergedLeniently(t, mergedLeniently(t, big, LittleEndian), BigEndian)
		if !bytes.Equal(again, big) {
			t.Fatalf("% x\nbecame\n% x", big, again)
		}
	})
}

// mergedLeniently is a capture in one section of the order, without the blocks that cannot be.
func mergedLeniently(t *testing.T, capture []byte, order Order) []byte {
	return written(t, WriterOptions{Order: order}, func(w *Writer) error {
		return errors.Join(w.WriteSection(Options{}), merge(w, capture, func(error) error { return nil }))
	})
}
