// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/printable"
	"ktrace/decoder/stage"
)

// blocksOf lists the blocks of a file in their order: names of addresses, and packets by their comment.
func blocksOf(t testing.TB, file []byte) []string {
	t.Helper()
	var all []string
	r := pcapng.NewReader(bytes.NewReader(file), pcapng.ReaderOptions{})
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		var p pcapng.Packet
		switch {
		case b.Type == pcapng.BlockNames:
			names, err := b.Names()
			if err != nil {
				t.Fatal(err)
			}
			for n := range names {
				all = append(all, n.Address.String()+" is "+n.Name)
			}
		case b.IsPacket():
			if err := b.Packet(&p); err != nil {
				t.Fatal(err)
			}
			all = append(all, p.Interface.Name()+": "+strings.Join(p.Options.Comments(), ","))
		}
	}
}

func TestNamesAreWrittenAgainInEveryFileAndWhenAnAddressChangesHands(t *testing.T) {
	address := netip.MustParseAddr("10.244.1.2")
	next := event.PodFact{UID: "u2", Namespace: "default", Name: "web-1", Source: "log", Netns: podNetns + 1, Addrs: []netip.Addr{address}}
	data := query("10.244.1.2", "10.96.0.10")
	frame := func(at time.Duration, netns uint32) []byte {
		return event.RawFrame{Time: at, Netns: netns, Ifindex: 2, Length: uint32(len(data)), Direction: event.Out, Ethernet: true, Data: data}.Append(nil)
	}
	device := func(netns uint32) []byte {
		return factRecord(t, 10, event.Fact{Device: &event.Device{Netns: netns, Ifindex: 2, Name: "eth0"}})
	}
	service := event.ServiceFact{Namespace: "kube-system", Name: "kube-dns", Source: "api", Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.10")}}
	start := append(stream(t)[:3], factRecord(t, 5, event.Fact{Service: &service}), frame(1000, podNetns))
	rest := [][]byte{
		frame(2000, podNetns),
		factRecord(t, 3000, event.Fact{Pod: &event.PodFact{UID: "u1", Gone: true}}),
		factRecord(t, 3001, event.Fact{Pod: &next}),
		device(podNetns + 1),
		frame(4000, podNetns+1),
	}
	var files [2]bytes.Buffer
	w := NewWriter(Options{Snap: 262144})
	for i, part := range [][][]byte{start, rest} {
		for j, raw := range part {
			if j == 0 && i == 1 {
				if err := errors.Join(w.Close(), w.Begin(&files[1])); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.RecordRaw(raw); err != nil {
				t.Fatal(err)
			}
			if j == 0 && i == 0 {
				if err := w.Begin(&files[0]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	names := []string{"10.244.1.2 is default/web-0", "10.96.0.10 is kube-system/kube-dns"}
	packet := "eth0@default/web-0: pod=default/web-0 peer=kube-system/kube-dns"
	if got, want := blocksOf(t, files[0].Bytes()), append(slices.Clone(names), packet); !slices.Equal(got, want) {
		t.Errorf("first file\ngot  %q\nwant %q", got, want)
	}
	got := blocksOf(t, files[1].Bytes())
	want := append(slices.Clone(names), packet, "10.244.1.2 is default/web-1", "eth0@default/web-1: pod=default/web-1 peer=kube-system/kube-dns")
	if !slices.Equal(got, want) {
		t.Errorf("second file\ngot  %q\nwant %q", got, want)
	}
}

func TestSectionSaysWhoCapturedAndWhere(t *testing.T) {
	for version, want := range map[string]string{"": "ktrace", "v1.2": "ktrace v1.2"} {
		var file bytes.Buffer
		w := NewWriter(Options{Version: version, Comment: "ktrace dns -w x"})
		if err := errors.Join(w.RecordRaw(stream(t)[0]), w.Begin(&file), w.Close()); err != nil {
			t.Fatal(err)
		}
		b, err := pcapng.NewReader(&file, pcapng.ReaderOptions{}).Next()
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Section()
		if err != nil {
			t.Fatal(err)
		}
		for code, want := range map[pcapng.OptionCode]string{
			pcapng.SectionApplication: want, pcapng.SectionOS: "Linux 6.18", pcapng.SectionHardware: "node-1", pcapng.OptComment: "ktrace dns -w x",
		} {
			if got, _ := s.Options.Text(code); got != want {
				t.Errorf("option %d is %q, want %q", code, got, want)
			}
		}
		about, ok := s.Options.JSON()
		if want := `{"kernel":"6.18","netns":4026531840,"node":"node-1","schema":1}`; !ok || string(about) != want {
			t.Errorf("JSON %s, want %s", about, want)
		}
	}
}

// TestNothingThatAProcessChoosesForgesAField: the kernel takes any bytes for its name.
func TestNothingThatAProcessChoosesForgesAField(t *testing.T) {
	data := query("10.244.1.2", "10.96.0.10")
	for _, comm := range []string{"a pod=b/c", "x\nDROP y", `"q" pod=z`, "peer=b/c", "=", "\\n pod=x", "a\u2028pod=x/y", "\xff pod=a/b"} {
		raw, ok := event.RawFrame{Time: 1450, Netns: nodeNetns, Ifindex: 9, Length: uint32(len(data)), Ethernet: true, Data: data,
			PID: 7, Comm: comm, Direction: event.Out, Journey: 99}.AppendDrop(nil, 7, 1)
		if !ok {
			t.Fatal("no record")
		}
		records := withDrop(t)
		records = append(records[:len(records)-2], raw)
		r := pcapng.NewReader(bytes.NewReader(written(t, records)), pcapng.ReaderOptions{})
		var p, last pcapng.Packet
		for r.ReadPacket(&p) == nil {
			last = p
			last.Options = p.Options.Clone()
		}
		comments := last.Options.Comments()
		if len(comments) != 1 || strings.ContainsAny(comments[0], "\n\u2028") {
			t.Fatalf("%q: comments %q", comm, comments)
		}
		summary, fields, ok := pcapng.ParseComment(comments[0])
		want := []pcapng.Field{{Key: "pod", Value: "default/web-0"}, {Key: "comm", Value: printable.Valid(comm)}}
		if !ok || summary != "DROP NO_SOCKET unknown(0x1)" || !slices.Equal(fields, want) {
			t.Errorf("%q: %q gives %q %q", comm, comments[0], summary, fields)
		}
	}
}

func TestDropsAreMarked(t *testing.T) {
	for _, old := range []bool{false, true} {
		var file bytes.Buffer
		w := NewWriter(Options{Old: old}).With(stage.NewNames())
		for i, raw := range withDrop(t) {
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
		r := pcapng.NewReader(&file, pcapng.ReaderOptions{})
		var p pcapng.Packet
		marked := 0
		for r.ReadPacket(&p) == nil {
			var verdicts []pcapng.Verdict
			for v := range p.Verdicts() {
				verdicts = append(verdicts, v)
			}
			id, _ := p.ID()
			if id == 0 {
				continue // taken by the tap
			}
			marked++
			text, _ := p.Options.JSON()
			if id != 99 || !bytes.Contains(text, []byte(`"drop":{"reason":"NO_SOCKET"`)) || !bytes.Contains(text, []byte(`"journey":99`)) {
				t.Errorf("id %d, JSON %s", id, text)
			}
			if dropped := len(verdicts) == 1 && verdicts[0].Kind == pcapng.VerdictTC && verdicts[0].Value == pcapng.TCShot; dropped == old {
				t.Errorf("with old %v: verdicts %+v", old, verdicts)
			}
		}
		if marked != 1 {
			t.Errorf("%d packets with an id, want one", marked)
		}
	}
}
