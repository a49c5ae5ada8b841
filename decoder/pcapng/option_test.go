// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// TestOptionsAreReadWhateverTheirEnd covers what files have behind their last option.
func TestOptionsAreReadWhateverTheirEnd(t *testing.T) {
	for _, c := range []struct {
		name      string
		raw       string
		want      []string
		malformed bool
	}{
		{"no options", "", nil, false},
		{"end marker", "\x01\x00\x02\x00ab\x00\x00\x00\x00\x00\x00", []string{"ab"}, false},
		{"no end marker", "\x01\x00\x02\x00ab\x00\x00", []string{"ab"}, false},
		{"last padding is missing", "\x01\x00\x02\x00ab", []string{"ab"}, false},
		{"an empty value", "\x01\x00\x00\x00\x01\x00\x01\x00x\x00\x00\x00", []string{"", "x"}, false},
		{"padding that is not zero", "\x01\x00\x01\x00xyzw\x01\x00\x01\x00y\x00\x00\x00", []string{"x", "y"}, false},
		{"only the end marker", "\x00\x00\x00\x00", nil, false},
		{"end marker with a length", "\x00\x00\x04\x00abcd", nil, true},
		{"bytes behind the end marker", "\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00", []string{""}, false},
		{"an option that overruns the block", "\x01\x00\x01\x00x\x00\x00\x00\x01\x00\xff\xffyyyy", []string{"x"}, true},
		{"half a header", "\x01\x00", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{raw: []byte(c.raw)}
			if got := o.Comments(); !slices.Equal(got, c.want) {
				t.Errorf("got comments %q, want %q", got, c.want)
			}
			if o.Malformed() != c.malformed {
				t.Errorf("malformed is %v", o.Malformed())
			}
			if o.Empty() != (len(c.want) == 0) {
				t.Errorf("empty is %v", o.Empty())
			}
		})
	}
}

func TestNumbersFollowTheByteOrder(t *testing.T) {
	for _, order := range []Order{LittleEndian, BigEndian} {
		p := packets(t, annotated(t, order))[1]
		if id, ok := p.ID(); !ok || id != 0x1122334455667788 {
			t.Errorf("order %d: packet id %#x %v", order, id, ok)
		}
		if n, ok := p.DropCount(); !ok || n != 1 {
			t.Errorf("order %d: drop count %d %v", order, n, ok)
		}
		if queue, ok := p.Options.Uint32(PacketQueue); !ok || queue != 3 {
			t.Errorf("order %d: queue %d %v", order, queue, ok)
		}
		if pid, tid := p.Process(); pid != 4242 || tid != 4243 {
			t.Errorf("order %d: process %d, thread %d", order, pid, tid)
		}
		if f := p.Flags(); f.Direction() != FlagInbound || f.Reception() != FlagUnicast || f.FCSLength() != 0 {
			t.Errorf("order %d: flags %#x", order, f)
		}
		verdicts := slices.Collect(p.Verdicts())
		if len(verdicts) != 1 || verdicts[0].Kind != VerdictTC || verdicts[0].Value != TCShot {
			t.Errorf("order %d: verdicts %v", order, verdicts)
		}
		if event, ok := p.Options.JSON(); !ok || string(event) != `{"v":1,"type":"event"}` {
			t.Errorf("order %d: event %q %v", order, event, ok)
		}
	}
}

func TestNumbersOfAnotherLengthAreNotGuessed(t *testing.T) {
	var o Options
	o.AddBytes(PacketFlags, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	o.AddBytes(PacketID, []byte{1, 0, 0, 0})
	o.AddBytes(PacketProcess, nil)
	p := Packet{Options: o}
	if _, ok := p.ID(); ok || p.Flags() != 0 {
		t.Errorf("took numbers of the wrong length: flags %#x", p.Flags())
	}
	if pid, tid := p.Process(); pid != 0 || tid != 0 {
		t.Errorf("took process %d, thread %d", pid, tid)
	}
}

// TestAddingToReadOptionsLeavesTheBufferAlone is about the list aliasing the buffer of a Reader.
func TestAddingToReadOptionsLeavesTheBufferAlone(t *testing.T) {
	buffer := []byte("\x01\x00\x02\x00ab\x00\x00\x00\x00\x00\x00next block")
	before := slices.Clone(buffer)
	o := Options{raw: buffer[:12]}
	o.AddComment("more")
	if !bytes.Equal(buffer, before) {
		t.Errorf("the buffer became %q", buffer)
	}
	if got := o.Comments(); !slices.Equal(got, []string{"ab", "more"}) {
		t.Errorf("got %q", got)
	}
	read := Options{raw: buffer[:12]}
	read.Reset()
	read.AddComment("overwritten?")
	if !bytes.Equal(buffer, before) {
		t.Errorf("after Reset the buffer became %q", buffer)
	}
}

func TestDeleteKeepsTheOrderOfTheRest(t *testing.T) {
	o := dropOptions(9)
	before := list(o)
	o.Delete(func(opt Option) bool { return opt.Code == PacketVerdict || opt.Code == OptComment })
	var want []OptionCode
	for _, opt := range before {
		if opt.Code != PacketVerdict && opt.Code != OptComment {
			want = append(want, opt.Code)
		}
	}
	var got []OptionCode
	for opt := range o.All() {
		got = append(got, opt.Code)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCustomOptionsSayWhatTheirCodesMean(t *testing.T) {
	for _, c := range []Custom{
		{70000, []byte("a"), true, true}, {70000, []byte("b\xff"), false, true},
		{70000, []byte("c"), true, false}, {70000, []byte{}, false, false},
	} {
		var o Options
		o.AddCustom(Custom{Enterprise: 1, Data: []byte("another's")})
		o.AddCustom(c)
		got := slices.Collect(o.Custom(70000))
		if len(got) != 1 || !bytes.Equal(got[0].Data, c.Data) || got[0].Text != c.Text || got[0].Copy != c.Copy {
			t.Errorf("got %v, want %v", got, c)
		}
	}
	short := Option{Code: OptCustomText, Value: []byte{1, 2, 3}}
	if c, ok := short.Custom(); ok {
		t.Errorf("took %v out of three bytes", c)
	}
}

func TestJSONOfOthersIsNotTaken(t *testing.T) {
	var o Options
	o.AddCustom(Custom{Enterprise: 70000, Data: []byte(JSONPrefix + "{}"), Text: true, Copy: true})
	o.AddCustom(Custom{Enterprise: Enterprise, Data: []byte("{}"), Text: true, Copy: true})
	if event, ok := o.JSON(); ok {
		t.Errorf("took %q", event)
	}
}

func TestHashesComeBackInOrder(t *testing.T) {
	var p Packet
	want := []Hash{{HashToeplitz, []byte{1, 2, 3, 4}}, {HashCRC32, []byte{5, 6, 7, 8}}}
	for _, h := range want {
		p.Options.AddHash(h)
	}
	p.Options.AddBytes(PacketHash, nil) // of no algorithm
	got := slices.Collect(p.Hashes())
	if !slices.EqualFunc(got, want, func(a, b Hash) bool { return a.Algorithm == b.Algorithm && bytes.Equal(a.Sum, b.Sum) }) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAddressesOfAnInterfaceComeBackInOrder(t *testing.T) {
	eth := NewInterface("eth0", "", LinkEthernet, 0)
	want := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64"), netip.MustParsePrefix("0.0.0.0/0"),
	}
	for _, p := range want {
		eth.AddAddress(p)
	}
	eth.Options.AddBytes(IfIPv4Address, []byte{10, 0, 0, 1, 255, 0, 255, 0}) // no prefix
	eth.Options.AddBytes(IfIPv6Address, append(make([]byte, 16), 129))
	eth.Options.AddBytes(IfIPv4Address, []byte{1})
	if got := slices.Collect(eth.Addresses()); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTextIsMadeUTF8(t *testing.T) {
	var o Options
	o.AddText(IfName, "eth\xff0")
	o.AddCustom(Custom{Enterprise: 1, Data: []byte("a\xff"), Text: true})
	if got, _ := o.Text(IfName); got != "eth\uFFFD0" {
		t.Errorf("got name %q", got)
	}
	for c := range o.Custom(1) {
		if string(c.Data) != "a\uFFFD" {
			t.Errorf("got custom text %q", c.Data)
		}
	}
}

func TestOptionThatDoesNotFitIsRefused(t *testing.T) {
	var out bytes.Buffer
	w, eth := NewWriter(&out, WriterOptions{}), NewInterface("eth0", "", LinkEthernet, 0)
	if err := errors.Join(w.WriteSection(Options{}), w.AddInterface(eth)); err != nil {
		t.Fatal(err)
	}
	size := w.Size()
	p := Packet{Interface: eth, Data: frame}
	p.Options.AddJSON(make([]byte, 65536))
	p.Options.AddFlags(FlagInbound)
	if err := w.WritePacket(&p); !errors.Is(err, ErrOptionTooLong) || w.Size() != size {
		t.Errorf("got error %v and %d bytes, want %v and nothing", err, w.Size()-size, ErrOptionTooLong)
	}
	p.Options.Reset()
	p.Options.AddText(OptComment, string(bytes.Repeat([]byte("x"), 65535)))
	if err := errors.Join(w.WritePacket(&p), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if got := packets(t, out.Bytes())[0].Options.Comments(); len(got) != 1 || len(got[0]) != 65535 {
		t.Errorf("the longest comment that fits did not come back")
	}
}
