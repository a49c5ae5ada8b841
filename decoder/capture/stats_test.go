// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapng"
)

// withDrop is stream and, before its end, a packet that the kernel threw away.
func withDrop(t testing.TB) [][]byte {
	records := stream(t)
	node := event.Node{Name: "node-1", Kernel: "6.18", Netns: nodeNetns, Wall: 1_700_000_000 * time.Second, Reasons: map[uint32]string{7: "NO_SOCKET"}}
	data := query("10.244.1.2", "10.96.0.10")
	drop, ok := event.RawFrame{Time: 1450, Netns: nodeNetns, Ifindex: 9, Length: uint32(len(data)), Ethernet: true, Data: data, Journey: 99}.AppendDrop(nil, 7, 1)
	if !ok {
		t.Fatal("no record of a drop")
	}
	return slices.Insert(records, len(records)-1, factRecord(t, 1440, event.Fact{Node: &node}), drop)
}

func parsed(t testing.TB, expr string) *pcapfilter.Expr {
	t.Helper()
	e, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func statsOf(t testing.TB, expr string, files ...[]byte) Stats {
	t.Helper()
	var s Subset
	if expr != "" {
		s.Filter = parsed(t, expr)
	}
	var in []File
	for _, f := range files {
		in = append(in, File{Name: "f", Reader: bytes.NewReader(f)})
	}
	if err := s.Run(in...); err != nil {
		t.Fatal(err)
	}
	return s.Stats
}

func TestStatisticsReportWhatACaptureHolds(t *testing.T) {
	file := written(t, withDrop(t))
	s := statsOf(t, "", file)
	if s.Read != 4 || s.Matched != 4 || s.Lost != 5 || s.Unreported || s.Disorder != 0 {
		t.Errorf("%+v", s)
	}
	first, last, _ := s.Span()
	if last.Sub(first) != 450 {
		t.Errorf("from %v to %v", first, last)
	}
	if want := []PodStats{{"default/web-0", 4, s.Bytes}}; !slices.Equal(s.Pods, want) {
		t.Errorf("pods %+v, want %+v", s.Pods, want)
	}
	if len(s.Verdicts) != 1 || s.Verdicts["drop NO_SOCKET"] != 1 {
		t.Errorf("verdicts %v", s.Verdicts)
	}
	if want := []NameStats{{netip.MustParseAddr("10.244.1.2"), "default/web-0"}}; !slices.Equal(s.Names, want) {
		t.Errorf("names %v, want %v", s.Names, want)
	}
	if want := []SectionStats{{"ktrace", "Linux 6.18", "node-1"}}; !slices.Equal(s.Sections, want) {
		t.Errorf("sections %+v, want %+v", s.Sections, want)
	}
	type row struct {
		name                      string
		packets, received, osLost uint64
	}
	var got []row
	for _, i := range s.Interfaces {
		got = append(got, row{i.Name, i.Packets, *i.Counted.Received, *i.Counted.OSDropped})
	}
	want := []row{{"eth0@default/web-0", 2, 7, 5}, {"uplink@node-1", 1, 1, 0}, {"uplink@node-1", 1, 1, 0}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	text := strings.Join(s.Lines(), "\n")
	for _, want := range []string{"4 packets read, 4 matched", "captured by ktrace on node-1 on Linux 6.18", "verdict drop NO_SOCKET", "5 packets lost while capturing", "10.244.1.2"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestStatisticsReadWhatOthersWrote(t *testing.T) {
	s := statsOf(t, "", ptcpdumpFile(t), retisFile(t))
	if len(s.Pods) != 1 || s.Pods[0].Name != "default/web-0" || s.Pods[0].Packets != 1 {
		t.Errorf("pods %+v", s.Pods)
	}
	if len(s.Verdicts) != 1 || s.Verdicts["drop NETFILTER_DROP"] != 1 {
		t.Errorf("verdicts %v", s.Verdicts)
	}
	if s.Sections[0].Application != "ptcpdump 0.37.0" || s.Sections[1].Application != "retis 1.6.4" || !s.Unreported {
		t.Errorf("%+v", s.Sections)
	}
}

// TestLossesAreReportedHonestly: what no packet matched is lost all the same, a file that does not say so is no file without
// losses, and files add up.
func TestLossesAreReportedHonestly(t *testing.T) {
	file := written(t, stream(t))
	if s := statsOf(t, "tcp", file); s.Matched != 0 || s.Lost != 5 {
		t.Errorf("%d matched, %d lost", s.Matched, s.Lost)
	}
	crashed := withoutStatistics(t, file)
	if s := statsOf(t, "", crashed); s.Lost != 5 || !s.Unreported {
		t.Errorf("without its end: %d lost, not reported %v", s.Lost, s.Unreported)
	}
	if s := statsOf(t, "", file, crashed); s.Lost != 10 || s.Read != 6 {
		t.Errorf("two files: %d lost of %d", s.Lost, s.Read)
	}
}

// withoutStatistics is a file of a ktrace that was killed.
func withoutStatistics(t testing.TB, file []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	r, w := pcapng.NewReader(bytes.NewReader(file), pcapng.ReaderOptions{}), pcapng.NewWriter(&out, pcapng.WriterOptions{})
	for {
		b, err := r.Next()
		if err != nil {
			break
		}
		if b.Type == pcapng.BlockStatistics {
			continue
		}
		if err := w.WriteBlock(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestStatisticsAreBounded counts every packet of a file with more to list than there is room for.
func TestStatisticsAreBounded(t *testing.T) {
	const sections = 3 * maxStats / 2 / statsEntry
	var file bytes.Buffer
	w := pcapng.NewWriter(&file, pcapng.WriterOptions{})
	for range sections {
		at := pcapng.NewInterface("eth0", "", pcapng.LinkEthernet, 0)
		for _, err := range []error{w.WriteSection(pcapng.Options{}), w.AddInterface(at), w.WritePacket(&pcapng.Packet{Interface: at, Data: make([]byte, 20)})} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	s := statsOf(t, "", file.Bytes())
	listed := len(s.Sections) + len(s.Interfaces)
	if s.Read != sections || s.Matched != sections || s.LeftOut == 0 || listed > maxStats/statsEntry+1 {
		t.Errorf("%d read, %d matched, %d listed, %d left out, want %d packets", s.Read, s.Matched, listed, s.LeftOut, sections)
	}
	last := s.Interfaces[len(s.Interfaces)-1]
	if last.Name != "other interfaces" || last.Packets+uint64(len(s.Interfaces)-1) != sections {
		t.Errorf("the last row is of %q, with %d packets beside %d rows", last.Name, last.Packets, len(s.Interfaces)-1)
	}
}
