// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/packet/packettest"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/stage"
)

const (
	podNetns  = 4026532001
	nodeNetns = 4026531840
)

func factRecord(t testing.TB, at time.Duration, f event.Fact) []byte {
	t.Helper()
	raw, err := event.EncodeFact(at, f)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// query is an Ethernet frame with a UDP packet.
func query(src, dst string) []byte {
	from, to := netip.AddrPortFrom(netip.MustParseAddr(src), 49153), netip.AddrPortFrom(netip.MustParseAddr(dst), 53)
	return packettest.Frame(packettest.UDP(from, to, []byte("hello")))
}

// stream is what a capture in a pod and beside it on the node looks like.
func stream(t testing.TB) [][]byte {
	web := event.PodFact{UID: "u1", Namespace: "default", Name: "web-0", Source: "log", Netns: podNetns,
		Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.2")}}
	frame := func(at time.Duration, netns, ifindex uint32, way event.Direction) []byte {
		data := query("10.244.1.2", "10.96.0.10")
		return event.RawFrame{Time: at, Netns: netns, Ifindex: ifindex, Length: uint32(len(data)), Direction: way, Ethernet: true, Data: data}.Append(nil)
	}
	return [][]byte{
		factRecord(t, 1, event.Fact{Node: &event.Node{Name: "node-1", Kernel: "6.18", Netns: nodeNetns, Wall: 1_700_000_000 * time.Second}}),
		factRecord(t, 2, event.Fact{Pod: &web}),
		factRecord(t, 3, event.Fact{Device: &event.Device{Netns: podNetns, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.2/24")}}}),
		frame(1000, podNetns, 2, event.Out),
		factRecord(t, 1100, event.Fact{Device: &event.Device{Netns: nodeNetns, Ifindex: 9, Name: "uplink"}}),
		frame(1200, nodeNetns, 9, event.Out),
		factRecord(t, 1300, event.Fact{Device: &event.Device{Netns: podNetns, Ifindex: 2, Name: "eth0", Lost: 5}}),
		frame(1400, podNetns, 2, event.In),
		factRecord(t, 1500, event.Fact{Counts: &event.Counts{Seen: 8, Lost: event.Losses{Ring: 5}}}),
	}
}

func written(t testing.TB, records [][]byte) []byte {
	t.Helper()
	var file bytes.Buffer
	w := NewWriter(Options{Snap: 262144}).With(stage.NewNames())
	for i, raw := range records {
		if err := w.RecordRaw(raw); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := w.Begin(&file); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func readAll(t testing.TB, r *Reader) [][]byte {
	t.Helper()
	var all [][]byte
	for {
		raw, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(raw))
	}
}

func TestWhatIsWrittenIsReadAsItWas(t *testing.T) {
	want := stream(t)
	got := readAll(t, NewReader(bytes.NewReader(written(t, want)), ReaderOptions{}))
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		size := binary.LittleEndian.Uint32(got[i]) // a custom block is padded
		if !bytes.Equal(got[i][:size], want[i]) {
			t.Errorf("record %d:\ngot  %x\nwant %x", i, got[i], want[i])
		}
	}
}

// TestRecordsThatNoPacketTakesAlongAreFewRows: tshark shows each custom block as one.
func TestRecordsThatNoPacketTakesAlongAreFewRows(t *testing.T) {
	records := stream(t)[:1]
	for i := range 20_000 {
		records = append(records, factRecord(t, time.Duration(i), event.Fact{Symbol: &event.Symbol{Address: uint64(i + 1), Name: "some_function"}}))
	}
	file := written(t, records)
	rows, most := 0, 0
	r := pcapng.NewReader(bytes.NewReader(file), pcapng.ReaderOptions{})
	for {
		b, err := r.Next()
		if err != nil {
			break
		}
		if b.Type == pcapng.BlockCustom {
			rows++
			most = max(most, len(b.Raw))
		}
	}
	if rows == 0 || rows > len(file)/(100<<10) || most > 256<<10 {
		t.Errorf("%d rows of %d bytes, the largest of %d", rows, len(file), most)
	}
	got := readAll(t, NewReader(bytes.NewReader(file), ReaderOptions{}))
	if len(got) != len(records) {
		t.Fatalf("%d records, want %d", len(got), len(records))
	}
	for i := range got {
		if !bytes.Equal(got[i], records[i]) {
			t.Fatalf("record %d is %x, want %x", i, got[i], records[i])
		}
	}
}

func TestPacketsAreAnnotated(t *testing.T) {
	r := pcapng.NewReader(bytes.NewReader(written(t, stream(t))), pcapng.ReaderOptions{})
	type seen struct {
		iface, comment string
		way            pcapng.Flags
		drops          uint64
	}
	var got []seen
	var p pcapng.Packet
	for {
		err := r.ReadPacket(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		drops, _ := p.DropCount()
		comment := ""
		if all := p.Options.Comments(); len(all) > 0 {
			comment = all[0]
		}
		got = append(got, seen{p.Interface.Name(), comment, p.Flags().Direction(), drops})
	}
	want := []seen{
		{"eth0@default/web-0", "pod=default/web-0", pcapng.FlagOutbound, 0},
		{"uplink@node-1", "pod=default/web-0", pcapng.FlagOutbound, 0},
		{"eth0@default/web-0", "pod=default/web-0", pcapng.FlagInbound, 5},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEachFileOfARotationStandsAlone(t *testing.T) {
	records := stream(t)
	var first, second bytes.Buffer
	w := NewWriter(Options{Snap: 262144})
	feed := func(some [][]byte) {
		for _, raw := range some {
			if err := w.RecordRaw(raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(records[:1])
	if err := w.Begin(&first); err != nil {
		t.Fatal(err)
	}
	feed(records[1:6])
	if err := errors.Join(w.Close(), w.Begin(&second)); err != nil {
		t.Fatal(err)
	}
	feed(records[6:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := decoder.Stream{Frames: NewReader(&second, ReaderOptions{})}
	var names, frames int
	for {
		e, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch b := e.Body.(type) {
		case event.Fact:
			if b.Pod != nil {
				names++
			}
		case event.Frame:
			frames++
			if e.Node != "node-1" {
				t.Errorf("node %q", e.Node)
			}
		}
	}
	if names != 1 || frames != 1 {
		t.Errorf("%d pods and %d packets in the second file, want one each", names, frames)
	}
}

func TestForeignCapturesGivePackets(t *testing.T) {
	files, err := filepath.Glob("../../testdata/captures/*.pcap*")
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all, some := 0, 0
			for _, expr := range []string{"", "udp or icmp"} {
				e, err := pcapfilter.Parse(expr)
				if err != nil {
					t.Fatal(err)
				}
				r := NewReader(bytes.NewReader(data), ReaderOptions{Filter: e})
				for _, raw := range readAll(t, r) {
					if !event.IsPacket(raw) {
						continue
					}
					if _, err := event.Decode(raw); err != nil {
						t.Error(err)
					}
					if expr == "" {
						all++
					} else {
						some++
					}
				}
				if r.Undecoded() != 0 {
					t.Errorf("%d packets not understood", r.Undecoded())
				}
			}
			if all == 0 || some > all {
				t.Errorf("%d packets, %d of them UDP or ICMP", all, some)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add(written(f, stream(f)))
	for _, name := range []string{"dumpcap.pcapng", "tcpdump-any-sll2.pcap"} {
		data, err := os.ReadFile("../../testdata/captures/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	e, err := pcapfilter.Parse("tcp or udp port 53")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := decoder.Stream{Frames: NewReader(bytes.NewReader(data), ReaderOptions{Filter: e})}
		w := NewWriter(Options{})
		if err := w.Begin(io.Discard); err != nil {
			t.Fatal(err)
		}
		s.Recorder = w
		for {
			if _, err := s.Next(context.Background()); err != nil {
				return
			}
		}
	})
}
