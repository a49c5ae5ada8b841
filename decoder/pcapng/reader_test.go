// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestCutCaptureGivesWhatCameBefore cuts a capture after every byte.
func TestCutCaptureGivesWhatCameBefore(t *testing.T) {
	for name, capture := range map[string][]byte{
		"little-endian": annotated(t, LittleEndian),
		"big-endian":    annotated(t, BigEndian),
		"classic":       capture(t, "tcpdump-micro.pcap"),
	} {
		whole, err := readAll(bytes.NewReader(capture))
		if err != nil {
			t.Fatal(err)
		}
		ends := blockEnds(capture, whole)
		for n := range capture {
			got, err := readAll(bytes.NewReader(capture[:n]))
			want := 0
			for want < len(ends) && ends[want] <= n {
				want++
			}
			if len(got) != want {
				t.Fatalf("%s: %d blocks in the first %d bytes, want %d", name, len(got), n, want)
			}
			if n > 0 && slices.Contains(ends, n) {
				if err != nil {
					t.Fatalf("%s: error %v at the end of a block", name, err)
				}
			} else if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "offset ") {
				t.Fatalf("%s: error %v after %d bytes", name, err, n)
			}
		}
	}
}

// blockEnds are the offsets behind each block. The header of classic pcap is both of its first two.
func blockEnds(capture []byte, blocks []Block) []int {
	var ends []int
	for i := range blocks {
		end := len(capture)
		if i+1 < len(blocks) {
			end = int(blocks[i+1].Offset)
		}
		ends = append(ends, max(end, classicHeader))
	}
	return ends
}

func TestAnyReaderWillDo(t *testing.T) {
	capture := annotated(t, LittleEndian)
	var packed bytes.Buffer
	for _, part := range [][]byte{capture[:100], capture[100:]} { // two members
		w := gzip.NewWriter(&packed)
		w.Write(part)
		w.Close()
	}
	for name, src := range map[string]io.Reader{
		"a byte at a time":           iotest.OneByteReader(bytes.NewReader(capture)),
		"half of what is asked for":  iotest.HalfReader(bytes.NewReader(capture)),
		"the error comes with bytes": iotest.DataErrReader(bytes.NewReader(capture)),
		"gzip":                       bytes.NewReader(packed.Bytes()),
		"gzip, a byte at a time":     iotest.OneByteReader(bytes.NewReader(packed.Bytes())),
	} {
		blocks, err := readAll(src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(passThrough(t, blocks), capture) {
			t.Errorf("%s: what came is not what was there", name)
		}
	}
}

// TestReaderWaitsForNoMoreThanTheBlock is what makes a live pipe live.
func TestReaderWaitsForNoMoreThanTheBlock(t *testing.T) {
	capture := annotated(t, LittleEndian)
	blocks, err := readAll(bytes.NewReader(capture))
	if err != nil {
		t.Fatal(err)
	}
	available := &pipe{}
	r := NewReader(available, ReaderOptions{})
	for i, want := range blocks {
		available.data = want.Raw
		got, err := r.Next()
		if err != nil || !bytes.Equal(got.Raw, want.Raw) {
			t.Fatalf("block %d: got %d bytes, error %v", i, len(got.Raw), err)
		}
	}
}

// pipe fails where a live one would block.
type pipe struct{ data []byte }

func (p *pipe) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, errors.New("would block")
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

func TestErrorsOfTheSourceComeAfterItsBytes(t *testing.T) {
	capture := annotated(t, LittleEndian)
	broken := errors.New("cable pulled")
	blocks, err := readAll(io.MultiReader(bytes.NewReader(capture), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !bytes.Equal(passThrough(t, blocks), capture) {
		t.Errorf("got %d blocks, error %v", len(blocks), err)
	}
	_, err = readAll(stuck{})
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: error %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// section begins every malformed capture below: 28 bytes.
const section = "\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x1c\x00\x00\x00"

// ethernet is an interface block: 20 bytes.
const ethernet = "\x01\x00\x00\x00\x14\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00"

// Blocks that ktrace never writes; the first keeps 4 of 6 bytes, if the snap length is 4.
const (
	simplePacket = "\x03\x00\x00\x00\x14\x00\x00\x00\x06\x00\x00\x00abcd\x14\x00\x00\x00"

	oldPacket = "\x02\x00\x00\x00\x30\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x07\x00\x00\x00" +
		"\x01\x00\x00\x00\x09\x00\x00\x00x\x00\x00\x00" +
		"\x02\x00\x04\x00\x02\x00\x00\x00\x00\x00\x00\x00\x30\x00\x00\x00"

	nameRecords = "\x04\x00\x00\x00\x38\x00\x00\x00" +
		"\x03\x00\x09\x00\x02\x00\x00\x00\x00\x01ab\x00\x00\x00\x00" + // a hardware address
		"\x01\x00\x06\x00\x0a\x00\x00\x01w\x00\x00\x00" +
		"\x00\x00\x00\x00" + "\x03\x00\x04\x00\x08\x08\x08\x08\x00\x00\x00\x00\x38\x00\x00\x00"
)

func TestWhatCannotBeFollowedIsAnError(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          error
		text          string
	}{
		{"nothing", "", io.ErrUnexpectedEOF, "offset 0"},
		{"two bytes", "\x0a\x0d", io.ErrUnexpectedEOF, "offset 0"},
		{"text", "GET / HTTP/1.1", ErrFormat, "47 45 54 20"},
		{"zstd", "\x28\xb5\x2f\xfd....", ErrFormat, "decompress it first"},
		{"gzip in gzip", string(zip(zip(nil))), ErrFormat, "gzip within gzip"},
		{"broken gzip", "\x1f\x8b\x00\x00........", gzip.ErrHeader, "offset 0"},
		{"no byte-order magic", strings.Replace(section, "\x4d\x3c", "\x00\x00", 1), ErrFormat, "magic"},
		{"version 2", strings.Replace(section, "\x01\x00\x00\x00", "\x02\x00\x00\x00", 1), ErrFormat, "version 2.0"},
		{"version 1.1", strings.Replace(section, "\x01\x00\x00\x00", "\x01\x00\x01\x00", 1), ErrFormat, "version 1.1"},
		{"section too short", "\x0a\x0d\x0d\x0a\x10\x00\x00\x00\x4d\x3c\x2b\x1a\x10\x00\x00\x00", ErrFormat, "offset 0"},
		{"block shorter than its head", section + "\x06\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00\x00", ErrFormat, "offset 28"},
		{"length that is no multiple of 4", section + "\x06\x00\x00\x00\x0d\x00\x00\x00....\x0d\x00\x00\x00", ErrFormat, "offset 28"},
		{"lengths that differ", section + "\x06\x00\x00\x00\x10\x00\x00\x00....\x14\x00\x00\x00", ErrFormat, "says 20"},
		{"over the limit", section + "\x06\x00\x00\x00\x00\x00\x00\x7f....", ErrTooBig, "offset 28"},
		{"interface too short", section + "\x01\x00\x00\x00\x0c\x00\x00\x00\x0c\x00\x00\x00", ErrFormat, "offset 28"},
		{"classic of a later version", "\xd4\xc3\xb2\xa1\x03\x00\x00\x00................", ErrFormat, "version 3.0"},
		{"classic record over the limit", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + strings.Repeat("\x00", 16) + "........\xff\xff\xff\xff....", ErrTooBig, "offset 24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(c.capture), ReaderOptions{})
			var err error
			for err == nil {
				_, err = r.Next()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got error %v, want %v with %q", err, c.want, c.text)
			}
			if _, again := r.Next(); again != err {
				t.Errorf("the next call returned %v", again)
			}
		})
	}
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func TestMinorVersion2IsTakenAs0(t *testing.T) {
	capture := strings.Replace(section, "\x01\x00\x00\x00", "\x01\x00\x02\x00", 1)
	if blocks, err := readAll(strings.NewReader(capture)); err != nil || len(blocks) != 1 {
		t.Errorf("got %d blocks, error %v", len(blocks), err)
	}
}

// TestMalformedPacketsDoNotEndTheReading has a sound packet behind each.
func TestMalformedPacketsDoNotEndTheReading(t *testing.T) {
	sound := "\x06\x00\x00\x00\x24\x00\x00\x00" + strings.Repeat("\x00", 12) + "\x02\x00\x00\x00\x02\x00\x00\x00ok\x00\x00\x24\x00\x00\x00"
	for _, c := range []struct{ name, block string }{
		{"no fixed fields", "\x06\x00\x00\x00\x0c\x00\x00\x00\x0c\x00\x00\x00"},
		{"interface that is not there", strings.Replace(sound, "\x24\x00\x00\x00\x00", "\x24\x00\x00\x00\x01", 1)},
		{"more captured than there is", strings.Replace(sound, "\x02\x00\x00\x00", "\x05\x00\x00\x00", 1)},
		{"4 GiB captured", strings.Replace(sound, "\x02\x00\x00\x00", "\xff\xff\xff\xff", 1)},
		{"simple packet longer than its block", "\x03\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00\x10\x00\x00\x00"},
		{"simple packet without a length", "\x03\x00\x00\x00\x0c\x00\x00\x00\x0c\x00\x00\x00"},
		{"old packet of interface 1", strings.Replace(sound, "\x06\x00\x00\x00\x24\x00\x00\x00\x00", "\x02\x00\x00\x00\x24\x00\x00\x00\x01", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(section+ethernet+c.block+sound), ReaderOptions{})
			var p Packet
			if err := r.ReadPacket(&p); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "offset 48") {
				t.Errorf("got error %v, want %v", err, ErrMalformed)
			}
			if string(p.Block.Raw) != c.block {
				t.Errorf("the block is % x", p.Block.Raw)
			}
			if err := r.ReadPacket(&p); err != nil || string(p.Data) != "ok" || p.Length != 2 {
				t.Errorf("behind it: %q, error %v", p.Data, err)
			}
			if err := r.ReadPacket(&p); err != io.EOF {
				t.Errorf("at the end: error %v", err)
			}
		})
	}
}

func TestSimplePacketsAreCutAtTheSnapLength(t *testing.T) {
	iface := strings.Replace(ethernet, "\x00\x00\x00\x00\x14", "\x04\x00\x00\x00\x14", 1)
	p := packets(t, []byte(section+iface+simplePacket))[0]
	if string(p.Data) != "abcd" || p.Length != 6 || !p.NoTime || p.Time != 0 || !p.Options.Empty() {
		t.Errorf("got %+v", p)
	}
}

func TestOldPacketsAreRead(t *testing.T) {
	p := packets(t, []byte(section+ethernet+oldPacket))[0]
	drops, ok := p.DropCount()
	if string(p.Data) != "x" || p.Length != 9 || p.Time != 7000 || drops != 5 || !ok || p.Flags() != FlagOutbound {
		t.Errorf("got %+v, %d drops, flags %#x", p, drops, p.Flags())
	}
	unknown := strings.Replace(oldPacket, "\x05\x00\x00\x00\x00\x00\x07", "\xff\xff\x00\x00\x00\x00\x07", 1)
	p = packets(t, []byte(section+ethernet+unknown))[0]
	if drops, ok := p.DropCount(); ok {
		t.Errorf("got %d drops where they are unknown", drops)
	}
}

func TestSectionsStartOverAndMayChangeTheByteOrder(t *testing.T) {
	capture := slices.Concat(annotated(t, LittleEndian), annotated(t, BigEndian), annotated(t, LittleEndian))
	all := packets(t, capture)
	if len(all) != 6 {
		t.Fatalf("got %d packets, want 6", len(all))
	}
	for i, p := range all {
		if p.Time != all[i%2].Time || p.Interface.ID != i%2 || p.Interface == all[(i+2)%6].Interface {
			t.Errorf("packet %d: time %d, interface %d", i, p.Time, p.Interface.ID)
		}
	}
	blocks, err := readAll(bytes.NewReader(capture))
	if err != nil || !bytes.Equal(passThrough(t, blocks), capture) {
		t.Errorf("it does not pass through, error %v", err)
	}
}

func TestBlocksAreLimited(t *testing.T) {
	classicFile := capture(t, "tcpdump-micro.pcap")
	first := packets(t, classicFile)[0]
	for _, c := range []struct {
		name    string
		capture []byte
		largest int
	}{
		{"pcapng", []byte(section), len(section)},
		{"classic", classicFile[:classicHeader+classicRecord+len(first.Data)], classicRecord + len(first.Data)},
	} {
		for _, limit := range []int{c.largest, c.largest - 1} {
			r := NewReader(bytes.NewReader(c.capture), ReaderOptions{MaxBlock: limit})
			var err error
			for err == nil {
				_, err = r.Next()
			}
			fits := limit == c.largest
			if fits != (err == io.EOF) || fits == errors.Is(err, ErrTooBig) {
				t.Errorf("%s, limit %d: error %v", c.name, limit, err)
			}
		}
	}
}

func TestInterfacesAreLimited(t *testing.T) {
	r := NewReader(strings.NewReader(section+strings.Repeat(ethernet, 4)), ReaderOptions{MaxInterfaces: 3})
	var err error
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, ErrTooManyInterfaces) || len(r.Interfaces()) != 3 {
		t.Errorf("got %d interfaces, error %v", len(r.Interfaces()), err)
	}
}

// TestClaimsCostNoMemory reads lengths just below the limit that nothing follows.
func TestClaimsCostNoMemory(t *testing.T) {
	for name, capture := range map[string]string{
		"block":   section + "\x06\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("x", 100),
		"classic": "\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + strings.Repeat("\x00", 16) + "........\x00\x00\xf0\x00....",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readAll(strings.NewReader(capture))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: error %v", name, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4*windowSize {
			t.Errorf("%s: %d bytes allocated for %d of input", name, took, len(capture))
		}
	}
}

func TestReadPacketAllocatesNothingPerPacket(t *testing.T) {
	for _, order := range []Order{LittleEndian, BigEndian} {
		var counts []float64
		for _, repeat := range []int{1, 1000} {
			capture := annotated(t, order)
			blocks, err := readAll(bytes.NewReader(capture))
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(blocks, func(b Block) bool { return b.IsPacket() })
			input := slices.Concat(capture, bytes.Repeat(blocks[i].Raw, repeat))
			counts = append(counts, testing.AllocsPerRun(5, func() {
				r := NewReader(bytes.NewReader(input), ReaderOptions{})
				var p Packet
				for r.ReadPacket(&p) == nil {
					p.Flags()
					p.Options.JSON()
				}
			}))
		}
		if counts[0] != counts[1] {
			t.Errorf("order %d: %v allocations, with 1000 times the packets %v", order, counts[0], counts[1])
		}
	}
}
