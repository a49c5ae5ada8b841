// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	for _, order := range []Order{LittleEndian, BigEndian} {
		capture := annotated(t, order)
		blocks, err := readAll(bytes.NewReader(capture))
		if err != nil {
			t.Fatal(err)
		}
		var types []BlockType
		for _, b := range blocks {
			types = append(types, b.Type)
			if b.Order != order {
				t.Errorf("block of type %#x has order %d", b.Type, b.Order)
			}
		}
		want := []BlockType{BlockSection, BlockInterface, BlockInterface, BlockNames, BlockSecrets,
			BlockPacket, BlockPacket, BlockCustom, BlockStatistics}
		if !slices.Equal(types, want) {
			t.Fatalf("got blocks %v, want %v", types, want)
		}
		checkSection(t, blocks[0])
		checkNames(t, blocks[3])
		checkStatistics(t, blocks[8])
		secrets, err := blocks[4].Secrets()
		if err != nil || secrets.Type != SecretsTLS || string(secrets.Data) != "CLIENT_RANDOM 00 00\n" {
			t.Errorf("got secrets %q, error %v", secrets.Data, err)
		}
		custom, err := blocks[7].CustomBlock()
		if err != nil || custom.Enterprise != Enterprise || string(custom.Data) != "meta" || !custom.Copy {
			t.Errorf("got custom block %v, error %v", custom, err)
		}
		for i, p := range packets(t, capture) {
			checkPacket(t, p, i)
		}
	}
}

func checkSection(t *testing.T, b Block) {
	t.Helper()
	s, err := b.Section()
	if err != nil || s.Major != 1 || s.Minor != 0 || s.Length != -1 {
		t.Errorf("got section %+v, error %v", s, err)
	}
	if app, _ := s.Options.Text(SectionApplication); app != "ktrace test" {
		t.Errorf("got application %q", app)
	}
	if meta, ok := s.Options.JSON(); !ok || string(meta) != `{"node":"a"}` {
		t.Errorf("got JSON %q %v", meta, ok)
	}
}

func checkNames(t *testing.T, b Block) {
	t.Helper()
	names, err := b.Names()
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(names); !slices.Equal(got, webNames) {
		t.Errorf("got names %v, want %v", got, webNames)
	}
	if o, err := b.NamesOptions(); err != nil || !o.Empty() {
		t.Errorf("got options %v of names, error %v", list(o), err)
	}
}

func checkStatistics(t *testing.T, b Block) {
	t.Helper()
	s, err := b.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	start, _ := s.When(StatStart)
	end, _ := s.When(StatEnd)
	received, _ := s.Options.Uint64(StatReceived)
	dropped, _ := s.Options.Uint64(StatOSDropped)
	if s.Time-start != 3e9 || end-start != 2e9 || received != 2 || dropped != 7 {
		t.Errorf("got statistics at %d from %d to %d: %d received, %d dropped", s.Time, start, end, received, dropped)
	}
}

func checkPacket(t *testing.T, p Packet, i int) {
	t.Helper()
	names := []string{"eth0@default/web-0", "veth1a2b@node"}
	filters := []string{"udp port 5001", ""}
	if p.Interface.Name() != names[i] || p.Interface.Filter() != filters[i] || p.Interface.SnapLen != 262144 {
		t.Errorf("packet %d is of %q with filter %q", i, p.Interface.Name(), p.Interface.Filter())
	}
	if p.Time != 1_700_000_000_123_456_789+int64(i)*1e9 || !bytes.Equal(p.Data, frame) || p.Length != 1400 {
		t.Errorf("packet %d at %d: %d of %d bytes", i, p.Time, len(p.Data), p.Length)
	}
	wantOptions := dropOptions(uint64(i))
	if got, want := list(p.Options), list(wantOptions); len(got) != len(want) {
		t.Errorf("packet %d has %d options, want %d", i, len(got), len(want))
	}
}

func TestBlocksOfUnknownTypesPassThrough(t *testing.T) {
	unknown := "\x78\x56\x34\x92\x14\x00\x00\x00anything\x14\x00\x00\x00"
	capture := section + unknown + ethernet + unknown
	blocks, err := readAll(bytes.NewReader([]byte(capture)))
	if err != nil || len(blocks) != 4 || blocks[1].Type != 0x92345678 || string(blocks[1].Body()) != "anything" {
		t.Fatalf("got %d blocks, error %v", len(blocks), err)
	}
	if got := passThrough(t, blocks); string(got) != capture {
		t.Errorf("got % x", got)
	}
}

// TestSubsetDoesNotClaimALength leaves the custom block out of a section that says how long it is.
func TestSubsetDoesNotClaimALength(t *testing.T) {
	for _, order := range []Order{LittleEndian, BigEndian} {
		capture := slices.Clone(annotated(t, order))
		copy(capture[16:], order.append64(nil, 4000))
		blocks, err := readAll(bytes.NewReader(capture))
		if err != nil {
			t.Fatal(err)
		}
		got := written(t, WriterOptions{Subset: true}, func(w *Writer) error {
			var errs []error
			for _, b := range blocks {
				if b.Type != BlockCustom {
					errs = append(errs, w.WriteBlock(b))
				}
			}
			return errors.Join(errs...)
		})
		again, err := readAll(bytes.NewReader(got))
		if err != nil || len(again) != len(blocks)-1 {
			t.Fatalf("got %d blocks, error %v", len(again), err)
		}
		if s, err := again[0].Section(); err != nil || s.Length != -1 {
			t.Errorf("order %d: the section claims %d bytes, error %v", order, s.Length, err)
		}
		if s, _ := blocks[0].Section(); s.Length != 4000 {
			t.Errorf("order %d: the block that was read says %d bytes now", order, s.Length)
		}
	}
}

// TestMergeRenumbersAndTranslates puts captures of both byte orders into one section.
func TestMergeRenumbersAndTranslates(t *testing.T) {
	inputs := [][]byte{annotated(t, LittleEndian), annotated(t, BigEndian)}
	for _, order := range []Order{LittleEndian, BigEndian} {
		merged := written(t, WriterOptions{Order: order}, func(w *Writer) error {
			errs := []error{w.WriteSection(Options{})}
			for _, input := range inputs {
				errs = append(errs, merge(w, input, strictly))
			}
			return errors.Join(errs...)
		})
		all := packets(t, merged)
		if len(all) != 4 {
			t.Fatalf("got %d packets", len(all))
		}
		for i, p := range all {
			checkPacket(t, p, i%2)
			if p.Interface.ID != i {
				t.Errorf("packet %d is of interface %d", i, p.Interface.ID)
			}
			if got, want := list(p.Options), list(all[i%2].Options); len(got) != len(want) {
				t.Errorf("packet %d has %d options, want %d", i, len(got), len(want))
			}
			if id, _ := p.ID(); id != 0x1122334455667788 || !slices.Equal(p.Options.Comments(), all[0].Options.Comments()) {
				t.Errorf("packet %d has id %#x, comments %q", i, id, p.Options.Comments())
			}
			for v := range p.Verdicts() {
				if v.Value != TCShot {
					t.Errorf("packet %d has verdict %d", i, v.Value)
				}
			}
		}
		blocks, err := readAll(bytes.NewReader(merged))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			switch b.Type {
			case BlockNames:
				checkNames(t, b)
			case BlockStatistics:
				checkStatistics(t, b)
			}
		}
	}
}

// merge adds a capture to the section of w. What is refused is as refuse says.
func merge(w *Writer, capture []byte, refuse func(error) error) error {
	r := NewReader(bytes.NewReader(capture), ReaderOptions{})
	for {
		b, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return refuse(err)
		}
		if b.Type == BlockSection {
			continue
		}
		if err := w.WriteBlock(b); err != nil {
			if err = refuse(err); err != nil {
				return err
			}
		}
	}
}

// strictly lets no refusal pass.
func strictly(err error) error { return err }

// TestBlockOfNoInterfaceIsLeftToItsOwnFile passes through one that names an interface that is not there,
// and refuses it where another file's interface has the number.
func TestBlockOfNoInterfaceIsLeftToItsOwnFile(t *testing.T) {
	lost := "\x06\x00\x00\x00\x20\x00\x00\x00" + strings.Repeat("\x00", 20) + "\x20\x00\x00\x00"
	blocks, err := readAll(strings.NewReader(section + lost))
	if err != nil {
		t.Fatal(err)
	}
	if got := passThrough(t, blocks); string(got) != section+lost {
		t.Errorf("got % x", got)
	}
	other, err := readAll(strings.NewReader(section + ethernet))
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(io.Discard, WriterOptions{})
	if err := errors.Join(w.WriteBlock(other[0]), w.WriteBlock(other[1])); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteBlock(blocks[1]); !errors.Is(err, ErrMalformed) {
		t.Errorf("got error %v, want %v", err, ErrMalformed)
	}
	blocks[1] = Block{Type: BlockPacket, Raw: []byte(lost)} // made by hand it means the Writer's interface
	if err := w.WriteBlock(blocks[1]); err != nil {
		t.Error(err)
	}
}

// TestTranslationThereAndBackIsTheSame covers the blocks that annotated does not have.
func TestTranslationThereAndBackIsTheSame(t *testing.T) {
	for _, c := range []struct{ name, block string }{
		{"simple packet", simplePacket},
		{"old packet", oldPacket},
		{"names", nameRecords},
		{"journal", "\x09\x00\x00\x00\x10\x00\x00\x00A=b\x0a\x10\x00\x00\x00"},
		{"process", "\x01\x00\x00\x80\x20\x00\x00\x00\x92\x10\x00\x00\x02\x00\x05\x00nginx\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			capture := section + ethernet + c.block
			big := translated(t, []byte(capture), BigEndian)
			if bytes.Contains(big, []byte(c.block)) && c.name != "journal" {
				t.Error("it is not translated")
			}
			if got := translated(t, big, LittleEndian); string(got) != capture {
				t.Errorf("got  % x\nwant % x", got, capture)
			}
		})
	}
}

func translated(t *testing.T, capture []byte, order Order) []byte {
	t.Helper()
	return written(t, WriterOptions{Order: order}, func(w *Writer) error {
		return errors.Join(w.WriteSection(Options{}), merge(w, capture, strictly))
	})
}

func TestWriterRefusesWhatWouldBeWrong(t *testing.T) {
	begun := func(w *Writer) { w.WriteSection(Options{}) }
	eth := NewInterface("eth0", "", LinkEthernet, 0)
	ready := func(w *Writer) { begun(w); w.AddInterface(eth) }
	unknown := Block{Type: 0x99, Order: BigEndian, Raw: []byte("\x00\x00\x00\x99\x00\x00\x00\x0c\x00\x00\x00\x0c")}
	foreign, err := readAll(bytes.NewReader(annotated(t, LittleEndian)))
	if err != nil {
		t.Fatal(err)
	}
	packet := foreign[slices.IndexFunc(foreign, func(b Block) bool { return b.IsPacket() })]
	var tooLong Options
	tooLong.AddBytes(1, make([]byte, 70000))
	for _, c := range []struct {
		name  string
		state func(*Writer)
		write func(*Writer) error
		want  error
	}{
		{"packet before the section", func(*Writer) {}, func(w *Writer) error { return w.WritePacket(&Packet{Interface: eth}) }, ErrNoSection},
		{"block before the section", func(*Writer) {}, func(w *Writer) error { return w.WriteBlock(packet) }, ErrNoSection},
		{"packet of an interface that is not there", begun, func(w *Writer) error { return w.WritePacket(&Packet{Interface: eth}) }, ErrNoInterface},
		{"packet without an interface", ready, func(w *Writer) error { return w.WritePacket(&Packet{}) }, ErrNoInterface},
		{"block of an interface that is not there", ready, func(w *Writer) error { return w.WriteBlock(packet) }, ErrNoInterface},
		{"statistics of an interface that is not there", begun, func(w *Writer) error { return w.WriteStatistics(&Statistics{Interface: eth}) }, ErrNoInterface},
		{"time before 1970", ready, func(w *Writer) error { return w.WritePacket(&Packet{Interface: eth, Time: -1}) }, ErrTime},
		{"unknown block of the other byte order", ready, func(w *Writer) error { return w.WriteBlock(unknown) }, ErrByteOrder},
		{"block whose length is wrong", ready, func(w *Writer) error { return w.WriteBlock(Block{Raw: make([]byte, 16)}) }, ErrMalformed},
		{"block whose second length is wrong", ready, func(w *Writer) error {
			return w.WriteBlock(Block{Type: 0x99, Raw: []byte("\x99\x00\x00\x00\x0c\x00\x00\x00\x10\x00\x00\x00")})
		}, ErrMalformed},
		{"section with an option that is too long", begun, func(w *Writer) error { return w.WriteSection(tooLong) }, ErrOptionTooLong},
		{"interface with one", begun, func(w *Writer) error { return w.AddInterface(&Interface{Options: tooLong}) }, ErrOptionTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := NewWriter(io.Discard, WriterOptions{})
			c.state(w)
			size := w.Size()
			if err := c.write(w); !errors.Is(err, c.want) || w.Size() != size {
				t.Errorf("got error %v and %d bytes, want %v and none", err, w.Size()-size, c.want)
			}
		})
	}
}

func TestNamesThatNoRecordCanHoldAreRefused(t *testing.T) {
	w := NewWriter(io.Discard, WriterOptions{})
	w.WriteSection(Options{})
	for _, n := range []Name{{Name: "a"}, {Address: netip.IPv6Loopback()}, {netip.IPv6Loopback(), string(make([]byte, maxName+1))}} {
		if err := w.WriteNames([]Name{n}, Options{}); err == nil {
			t.Errorf("wrote a name of %d bytes for %v", len(n.Name), n.Address)
		}
	}
}

// nameReadBack is what becomes of one name that is written.
func nameReadBack(t *testing.T, n Name) []Name {
	t.Helper()
	capture := written(t, WriterOptions{}, func(w *Writer) error {
		return errors.Join(w.WriteSection(Options{}), w.WriteNames([]Name{n}, Options{}))
	})
	blocks, err := readAll(bytes.NewReader(capture))
	if err != nil {
		t.Fatal(err)
	}
	names, err := blocks[1].Names()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(names)
}

func TestLongestNameFitsItsRecord(t *testing.T) {
	name := strings.Repeat("a\xff", maxName/2) // half of it is replaced
	want := []Name{{netip.IPv6Loopback(), strings.Repeat("a\uFFFD", maxName/2)}}
	if got := nameReadBack(t, Name{netip.IPv6Loopback(), name}); !slices.Equal(got, want) {
		t.Errorf("got %d names, not the one that was written", len(got))
	}
}

func TestNULInANameForgesNoSecondName(t *testing.T) {
	want := []Name{{netip.MustParseAddr("10.0.0.1"), "ab"}}
	if got := nameReadBack(t, Name{netip.MustParseAddr("::ffff:10.0.0.1"), "a\x00b"}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDropsOfAnOldPacketSurviveRewriting(t *testing.T) {
	old := packets(t, []byte(section+ethernet+oldPacket))[0]
	capture := written(t, WriterOptions{}, func(w *Writer) error {
		return errors.Join(w.WriteSection(Options{}), w.AddInterface(old.Interface), w.WritePacket(&old))
	})
	p := packets(t, capture)[0]
	if drops, ok := p.DropCount(); p.Block.Type != BlockPacket || drops != 5 || !ok || p.Flags() != FlagOutbound {
		t.Errorf("got %d drops %v, flags %#x in a block of type %d", drops, ok, p.Flags(), p.Block.Type)
	}
}

// TestEveryWriteIsOfWholeBlocks is what keeps a file sound when the program is killed.
func TestEveryWriteIsOfWholeBlocks(t *testing.T) {
	var sizes wholeWrites
	w, eth := NewWriter(&sizes, WriterOptions{}), NewInterface("eth0", "", LinkEthernet, 0)
	errs := []error{w.WriteSection(Options{}), w.AddInterface(eth)}
	for range 3000 {
		errs = append(errs, w.WritePacket(&Packet{Interface: eth, Data: frame}))
	}
	if err := errors.Join(append(errs, w.Flush())...); err != nil {
		t.Fatal(err)
	}
	if len(sizes.ends) < 3 {
		t.Fatalf("%d writes say little", len(sizes.ends))
	}
	for _, end := range sizes.ends {
		if _, err := readAll(bytes.NewReader(sizes.file[:end])); err != nil {
			t.Errorf("a file of the first %d bytes: %v", end, err)
		}
	}
	if w.Size() != int64(len(sizes.file)) {
		t.Errorf("size is %d, the file has %d", w.Size(), len(sizes.file))
	}
}

type wholeWrites struct {
	file []byte
	ends []int
}

func (w *wholeWrites) Write(b []byte) (int, error) {
	w.file = append(w.file, b...)
	w.ends = append(w.ends, len(w.file))
	return len(b), nil
}

func TestErrorOfTheDestinationIsFinal(t *testing.T) {
	full := errors.New("no space left on device")
	w := NewWriter(failing{full}, WriterOptions{})
	if err := errors.Join(w.WriteSection(Options{}), w.Flush()); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	for name, err := range map[string]error{
		"section": w.WriteSection(Options{}), "names": w.WriteNames(nil, Options{}),
		"block": w.WriteBlock(Block{}), "flush": w.Flush(),
	} {
		if !errors.Is(err, full) {
			t.Errorf("%s: got %v, want %v", name, err, full)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestOneInterfaceGoesIntoManyFiles(t *testing.T) {
	eth, veth := NewInterface("eth0", "", LinkEthernet, 0), NewInterface("veth0", "", LinkEthernet, 0)
	for i, order := range [][]*Interface{{eth, veth}, {veth, eth, veth}} {
		capture := written(t, WriterOptions{}, func(w *Writer) error {
			errs := []error{w.WriteSection(Options{})}
			for _, at := range order {
				errs = append(errs, w.AddInterface(at))
			}
			return errors.Join(append(errs, w.WritePacket(&Packet{Interface: veth}))...)
		})
		p := packets(t, capture)[0]
		if p.Interface.Name() != "veth0" || p.Interface.ID != 1-i {
			t.Errorf("file %d: packet of interface %d, %q", i, p.Interface.ID, p.Interface.Name())
		}
	}
}
