// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/stage"
)

// nodeFile is the capture of a node that booted at some time, with a packet of a pod's at eth0 and then its drop there.
// By its numbers it looks like that of any other node.
func nodeFile(t testing.TB, name, device, reason string, boot, packet time.Duration) []byte {
	data := query("10.244.1.2", "10.96.0.10")
	frame := event.RawFrame{Time: packet, Netns: nodeNetns, Ifindex: 2, Length: uint32(len(data)), Direction: event.Out, Ethernet: true, Data: data}
	later := frame
	later.Time += 10
	drop, ok := later.AppendDrop(nil, 7, 1)
	if !ok {
		t.Fatal("no record of a drop")
	}
	return written(t, [][]byte{
		factRecord(t, 1, event.Fact{Node: &event.Node{Name: name, Kernel: "6.18", Netns: nodeNetns, Wall: boot, Reasons: map[uint32]string{7: reason}}}),
		factRecord(t, 2, event.Fact{Device: &event.Device{Netns: nodeNetns, Ifindex: 2, Name: device}}),
		factRecord(t, 3, event.Fact{Symbol: &event.Symbol{Address: 1, Name: "at_" + name}}),
		frame.Append(nil),
		drop,
	})
}

// seen is an event of a node.
type seen struct {
	at                      int64
	node, iface, reason, in string
}

// seenIn reads files, each run with state of its own.
func seenIn(t *testing.T, files ...[]byte) (got []seen) {
	t.Helper()
	nodes := decoder.Nodes{
		Printer: eventPrinter(func(e event.Event) {
			s := seen{at: e.Time.UnixNano() - 1_700_000_000e9, node: e.Node, iface: e.Iface}
			if b, ok := e.Body.(event.Drop); ok {
				s.reason, s.in = b.Reason, b.Location
			}
			got = append(got, s)
		}),
		Pipeline: func() (*decoder.Pipeline, error) {
			return &decoder.Pipeline{Stages: []stage.Stage{stage.NewNames()}, Wanted: func(k event.Kind) bool { return k != event.KindFact }}, nil
		},
	}
	for _, file := range files {
		nodes.Add("x", &decoder.Stream{Frames: NewReader(bytes.NewReader(file), ReaderOptions{})})
	}
	if err := nodes.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFilesOfNodesAreMergedByTimeAndKeepTheirNames(t *testing.T) {
	a := nodeFile(t, "node-a", "eth0", "NO_SOCKET", 1_700_000_000*time.Second, 1005)
	b := nodeFile(t, "node-b", "ens3", "TCP_CSUM", 1_600_000_000*time.Second, 100_000_000*time.Second+1000)
	want := []seen{
		{1000, "node-b", "ens3", "", ""}, {1005, "node-a", "eth0", "", ""},
		{1010, "node-b", "ens3", "TCP_CSUM", "at_node-b"}, {1015, "node-a", "eth0", "NO_SOCKET", "at_node-a"},
	}
	if got := seenIn(t, a, b); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, files := range [][][]byte{{a, b}, {b, a}} {
		if got := seenIn(t, merged(t, "", files...)); !slices.Equal(got, want) {
			t.Errorf("of one file that was merged\ngot  %+v\nwant %+v", got, want)
		}
	}
}

// merged is a file with the packets of several, or with those that pass an expression.
func merged(t *testing.T, expression string, files ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var pass *pcapfilter.Expr
	if expression != "" {
		var err error
		if pass, err = pcapfilter.Parse(expression); err != nil {
			t.Fatal(err)
		}
	}
	s := Subset{Filter: pass, To: pcapng.NewWriter(&out, pcapng.WriterOptions{Subset: true})}
	var in []File
	for _, file := range files {
		in = append(in, File{"x", bytes.NewReader(file)})
	}
	if err := s.Run(in...); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// symbolOf is a symbol, and the node that it is said of.
type symbolOf struct{ node, symbol string }

func symbolsIn(t *testing.T, file []byte) (all []symbolOf) {
	t.Helper()
	stream := &decoder.Stream{Frames: NewReader(bytes.NewReader(file), ReaderOptions{})}
	for {
		e, err := stream.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := e.Body.(event.Fact); ok && f.Symbol != nil {
			all = append(all, symbolOf{e.Node, f.Symbol.Name})
		}
	}
}

// TestRecordsInBlocksOfTheirOwnKeepTheirNode has so many facts that they do not go beside a packet.
func TestRecordsInBlocksOfTheirOwnKeepTheirNode(t *testing.T) {
	file := func(name string, wall time.Duration) []byte {
		records := [][]byte{factRecord(t, 1, event.Fact{Node: &event.Node{Name: name, Kernel: "6.18", Netns: nodeNetns, Wall: wall}})}
		for range 2 {
			for i := range 1000 {
				records = append(records, factRecord(t, 2, event.Fact{Symbol: &event.Symbol{Address: uint64(i), Name: name + strings.Repeat("x", 100)}}))
			}
			data := query("10.244.1.2", "10.96.0.10")
			records = append(records, event.RawFrame{Time: 1000, Netns: nodeNetns, Ifindex: 2, Length: uint32(len(data)), Ethernet: true, Data: data}.Append(nil))
		}
		return written(t, records)
	}
	n := map[string]int{}
	for _, said := range symbolsIn(t, merged(t, "", file("a", 1), file("b", 2))) {
		if !strings.HasPrefix(said.symbol, said.node) {
			t.Fatalf("%s is said of node %s", said.symbol, said.node)
		}
		n[said.node]++
	}
	if n["a"] < 1000 || n["b"] < 1000 {
		t.Errorf("facts of nodes: %v", n)
	}
}

// TestWhatNoPacketFollowsKeepsItsNode merges a file that ends with facts that wait for a packet, and one whose last packet
// is left out with what it says, with one that goes on longer.
func TestWhatNoPacketFollowsKeepsItsNode(t *testing.T) {
	symbol := func(name string) []byte {
		return factRecord(t, 2, event.Fact{Symbol: &event.Symbol{Address: 1, Name: name}})
	}
	frame := func(at time.Duration, server string) []byte {
		data := query("10.244.1.2", server)
		return event.RawFrame{Time: at, Netns: nodeNetns, Ifindex: 2, Length: uint32(len(data)), Ethernet: true, Data: data}.Append(nil)
	}
	file := func(node string, killed bool, records ...[]byte) []byte {
		var file bytes.Buffer
		w := NewWriter(Options{})
		begin := factRecord(t, 1, event.Fact{Node: &event.Node{Name: node, Kernel: "6.18", Netns: nodeNetns, Wall: time.Duration(node[0])}})
		err := errors.Join(w.RecordRaw(begin), w.Begin(&file))
		for _, raw := range records {
			err = errors.Join(err, w.RecordRaw(raw))
		}
		if killed {
			err = errors.Join(err, w.Save())
		} else {
			err = errors.Join(err, w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return file.Bytes()
	}
	const kept, left = "10.96.0.10", "10.96.0.11"
	a := file("a", true, frame(1000, kept), symbol("a killed"))
	b := file("b", false, frame(1000, kept), symbol("b left"), frame(1100, left))
	c := file("c", false, frame(1000, kept), symbol("c"), frame(2000, kept))
	for _, files := range [][][]byte{{a, b, c}, {c, b, a}, {b, c, a}} {
		var said []string
		for _, x := range symbolsIn(t, merged(t, "host "+kept, files...)) {
			said = append(said, x.node+": "+x.symbol)
		}
		if slices.Sort(said); !slices.Equal(said, []string{"a: a killed", "b: b left", "c: c"}) {
			t.Errorf("it says %q", said)
		}
	}
}

// TestWhatWaitsForAPacketIsInAFileThatIsCut cuts a file after what Save wrote, and after the packet that came then.
func TestWhatWaitsForAPacketIsInAFileThatIsCut(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(Options{})
	symbol := func(n uint64) []byte {
		return factRecord(t, time.Duration(n), event.Fact{Symbol: &event.Symbol{Address: n, Name: "f"}})
	}
	node := factRecord(t, 1, event.Fact{Node: &event.Node{Name: "a", Wall: 5}})
	data := query("10.244.1.2", "10.96.0.10")
	frame := event.RawFrame{Time: 1000, Netns: nodeNetns, Ifindex: 2, Length: uint32(len(data)), Ethernet: true, Data: data}.Append(nil)
	step := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	step(w.RecordRaw(node))
	step(w.Begin(&file))
	step(w.Save())
	step(w.RecordRaw(symbol(2)))
	step(w.Save())
	step(w.Save())
	step(w.RecordRaw(symbol(3)))
	step(w.Save())
	before := bytes.Clone(file.Bytes())
	step(w.RecordRaw(frame))
	step(w.Save())
	after := bytes.Clone(file.Bytes())
	step(w.Close())
	for _, c := range []struct {
		name string
		file []byte
		want [][]byte
	}{
		{"cut before the packet", before, [][]byte{node, symbol(2), symbol(3)}},
		{"cut behind it", after, [][]byte{node, symbol(2), symbol(3), frame}},
		{"whole", file.Bytes(), [][]byte{node, symbol(2), symbol(3), frame}},
	} {
		r := NewReader(bytes.NewReader(c.file), ReaderOptions{})
		var got [][]byte
		for {
			raw, err := r.Next(context.Background())
			if err != nil {
				break
			}
			got = append(got, bytes.Clone(raw))
		}
		if !slices.EqualFunc(got, c.want, bytes.Equal) {
			t.Errorf("%s: %d records, want %d", c.name, len(got), len(c.want))
		}
	}
}

// eventPrinter hands on events.
type eventPrinter func(event.Event)

func (p eventPrinter) Event(e event.Event) error   { p(e); return nil }
func (p eventPrinter) Finding(event.Finding) error { return nil }
func (p eventPrinter) Summary(event.Summary) error { return nil }
func (p eventPrinter) Close() error                { return nil }

// TestSubsetMergesFilesOfDifferentClocks: one in 2^-20 s after an offset and of the other byte order, one in
// nanoseconds.
func TestSubsetMergesFilesOfDifferentClocks(t *testing.T) {
	const start = int64(1_700_000_000e9)
	clock := func(resolution byte, offset uint64, order pcapng.Order, times ...int64) io.Reader {
		var file bytes.Buffer
		w := pcapng.NewWriter(&file, pcapng.WriterOptions{Order: order})
		i := &pcapng.Interface{LinkType: pcapng.LinkEthernet}
		i.Options.AddBytes(pcapng.IfTimeResolution, []byte{resolution})
		if offset != 0 {
			i.Options.AddUint64(pcapng.IfTimeOffset, offset)
		}
		if err := errors.Join(w.WriteSection(pcapng.Options{}), w.AddInterface(i)); err != nil {
			t.Fatal(err)
		}
		for _, at := range times {
			if err := w.WritePacket(&pcapng.Packet{Interface: i, Time: start + at, Data: query("10.0.0.1", "10.0.0.2")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return &file
	}
	var out bytes.Buffer
	s := Subset{To: pcapng.NewWriter(&out, pcapng.WriterOptions{Subset: true})}
	const ms = int64(1e6)
	if err := s.Run(File{"a", clock(0x80|20, 1_600_000_000, pcapng.BigEndian, ms, 3*ms)}, File{"b", clock(9, 0, pcapng.LittleEndian, 0, 2*ms)}); err != nil {
		t.Fatal(err)
	}
	var got []int64
	r := pcapng.NewReader(&out, pcapng.ReaderOptions{})
	var p pcapng.Packet
	for r.ReadPacket(&p) == nil {
		got = append(got, (p.Time-start+ms/2)/ms)
	}
	if want := []int64{0, 1, 2, 3}; !slices.Equal(got, want) || s.Stats.Disorder != 0 || s.Stats.Matched != 4 {
		t.Errorf("in order of time %v, want %v; %d older than the one before", got, want, s.Stats.Disorder)
	}
}

// TestSubsetKeepsEveryBlockThatItDoesNotLeaveOut: of a file with blocks of every kind, and one of an unknown kind, only
// packets are left out.
func TestSubsetKeepsEveryBlockThatItDoesNotLeaveOut(t *testing.T) {
	var file, want, got bytes.Buffer
	w := pcapng.NewWriter(&file, pcapng.WriterOptions{})
	i := pcapng.NewInterface("eth0", "", pcapng.LinkEthernet, 0)
	var o pcapng.Options
	o.AddCustom(pcapng.Custom{Enterprise: 12345, Data: []byte("theirs"), Text: true})
	unknown := pcapng.Block{Type: 0x80001234, Raw: []byte{0x34, 0x12, 0, 0x80, 16, 0, 0, 0, 1, 2, 3, 4, 16, 0, 0, 0}}
	journal := pcapng.Block{Type: pcapng.BlockJournal, Raw: []byte{9, 0, 0, 0, 16, 0, 0, 0, 'A', '=', 'b', '\n', 16, 0, 0, 0}}
	if err := errors.Join(w.WriteSection(o), w.AddInterface(i), w.WriteBlock(unknown), w.WriteBlock(journal),
		w.WriteSecrets(pcapng.Secrets{Type: pcapng.SecretsTLS, Data: []byte("CLIENT_RANDOM")}), w.WriteCustom(pcapng.Custom{Enterprise: 12345, Data: []byte("theirs")})); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		p := pcapng.Packet{Interface: i, Time: int64(n), Data: query("10.0.0.1", "10.0.0.2")}
		if n%2 == 1 {
			p.Data[14+9] = 6 // TCP
		}
		p.Options.AddComment("a comment")
		p.Options.AddBytes(0x8001, []byte{1, 2, 3})
		if err := w.WritePacket(&p); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.WriteStatistics(&pcapng.Statistics{Interface: i, Time: 9}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	r := pcapng.NewReader(bytes.NewReader(file.Bytes()), pcapng.ReaderOptions{})
	for n := 0; ; {
		b, err := r.Next()
		if err != nil {
			break
		}
		if b.IsPacket() {
			if n++; n%2 == 0 {
				continue
			}
		}
		want.Write(b.Raw)
	}
	s := Subset{Filter: parsed(t, "udp"), To: pcapng.NewWriter(&got, pcapng.WriterOptions{Subset: true})}
	if err := s.Run(File{"a", &file}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("got  %x\nwant %x", got.Bytes(), want.Bytes())
	}
}
