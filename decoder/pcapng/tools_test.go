// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The programs that people open a capture with must take everything the Writer makes.

// tool runs a program on files and returns its standard output. Not having it is a reason to skip,
// but for CI, which has them all.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must have it: %v", err)
		}
		t.Skipf("not installed: %v", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C", "HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
	}
	return string(out)
}

// stored writes a capture to a file.
func stored(t *testing.T, capture []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture.pcapng")
	if err := os.WriteFile(path, capture, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inBothOrders runs a test on a capture of either byte order. The blocks that drop chooses are
// left out of it.
func inBothOrders(t *testing.T, drop func(Block) bool, test func(*testing.T, []byte)) {
	for name, order := range map[string]Order{"little-endian": LittleEndian, "big-endian": BigEndian} {
		t.Run(name, func(t *testing.T) {
			blocks, err := readAll(bytes.NewReader(annotated(t, order)))
			if err != nil {
				t.Fatal(err)
			}
			test(t, passThrough(t, slices.DeleteFunc(blocks, drop)))
		})
	}
}

func nothing(Block) bool { return false }

// customBlocks are counted as packets by Wireshark's programs.
func customBlocks(b Block) bool { return b.Type == BlockCustom }

func TestTcpdumpReadsWhatIsWritten(t *testing.T) {
	inBothOrders(t, nothing, func(t *testing.T, capture []byte) {
		got := tool(t, "tcpdump", "-nn", "-tt", "--nano", "-r", stored(t, capture))
		want := "1700000000.123456789 IP 10.0.0.1.5000 > 10.0.0.2.5001: UDP, length 4\n" +
			"1700000001.123456789 IP 10.0.0.1.5000 > 10.0.0.2.5001: UDP, length 4\n"
		if got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

func TestCapinfosCountsWhatIsWritten(t *testing.T) {
	inBothOrders(t, customBlocks, func(t *testing.T, capture []byte) {
		out := tool(t, "capinfos", "-M", stored(t, capture))
		for _, want := range []string{
			"Number of packets:   2", "Strict time order:   True", "Capture application: ktrace test",
			"Number of interfaces in file: 2", "Name = eth0@default/web-0", "Number of stat entries = 1",
			"Description = default/web-0 eth0, host side, tc ingress", "Time precision = nanoseconds (9)",
			"Filter string = udp port 5001", "Capture length = 262144",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("want %q in\n%s", want, out)
			}
		}
	})
}

func TestTsharkShowsWhatWasMeant(t *testing.T) {
	fields := []struct{ field, first, second string }{
		{"frame.time_epoch", "1700000000.123456789", "1700000001.123456789"},
		{"frame.interface_name", "eth0@default/web-0", "veth1a2b@node"},
		{"frame.interface_description", "default/web-0 eth0, host side, tc ingress", ""},
		{"frame.comment", annotatedComment, annotatedComment},
		{"frame.drop_count", "0", "1"},
		{"frame.packet_id", "1234605616436508552", "1234605616436508552"},
		{"frame.interface_queue", "3", "3"},
		{"frame.verdict.ebpf_tc", "2", "2"},
		{"frame.len", "1400", "1400"},
		{"frame.cap_len", "46", "46"},
		{"ip.src_host", "default/web-0", "default/web-0"},
		{"udp.dstport", "5001", "5001"},
	}
	args := []string{"-n", "-N", "n", "-Y", "udp && frame.packet_flags_direction == 1", "-T", "fields", "-E", "separator=|"}
	var want [2][]string
	for _, f := range fields {
		args = append(args, "-e", f.field)
		want[0], want[1] = append(want[0], f.first), append(want[1], f.second)
	}
	inBothOrders(t, nothing, func(t *testing.T, capture []byte) {
		lines := strings.Split(strings.TrimSpace(tool(t, "tshark", append(args, "-r", stored(t, capture))...)), "\n")
		if len(lines) != 2 {
			t.Fatalf("got %q", lines)
		}
		for i, line := range lines {
			got := strings.Split(line, "|")
			for j, f := range fields {
				if got[j] != want[i][j] {
					t.Errorf("packet %d: %s is %q, want %q", i, f.field, got[j], want[i][j])
				}
			}
		}
	})
}

const annotatedComment = `DROP NETFILTER_DROP nf_hook_slow+0x9c pod=default/web-0 comm="evil pod=kube-system/x"`

// survivable is a capture without what editcap and mergecap 4.0 break or lose on packets: a verdict comes
// out as an option that no Wireshark takes, a process is left out.
func survivable(t *testing.T, order Order) []byte {
	t.Helper()
	blocks, err := readAll(bytes.NewReader(annotated(t, order)))
	if err != nil {
		t.Fatal(err)
	}
	return written(t, WriterOptions{Subset: true}, func(w *Writer) error {
		var errs []error
		for _, b := range blocks {
			var p Packet
			if b.Packet(&p) != nil {
				errs = append(errs, w.WriteBlock(b))
				continue
			}
			p.Options.Delete(func(o Option) bool { return o.Code == PacketVerdict || o.Code == PacketProcess })
			errs = append(errs, w.WritePacket(&p))
		}
		return errors.Join(errs...)
	})
}

func TestEditcapAndMergecapKeepWhatIsMeantToLast(t *testing.T) {
	little, big := stored(t, survivable(t, LittleEndian)), stored(t, survivable(t, BigEndian))
	original := packets(t, survivable(t, LittleEndian))
	for _, c := range []struct {
		name, program string
		args          []string
		sources       []int // which of the original packets come out
	}{
		{"editcap", "editcap", []string{little, "OUT"}, []int{0, 1}},
		{"editcap of the other byte order", "editcap", []string{big, "OUT"}, []int{0, 1}},
		{"mergecap by time", "mergecap", []string{"-w", "OUT", little, big}, []int{0, 0, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.pcapng")
			args := slices.Clone(c.args)
			args[slices.Index(args, "OUT")] = out
			tool(t, c.program, args...)
			file, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			checkJSON(t, file)
			all := packets(t, file)
			if len(all) != len(c.sources) {
				t.Fatalf("got %d packets, want %d", len(all), len(c.sources))
			}
			for i, source := range c.sources {
				checkSame(t, all[i], original[source])
			}
		})
	}
}

// checkJSON wants what ktrace says about the whole file to have lasted.
func checkJSON(t *testing.T, file []byte) {
	t.Helper()
	b, err := NewReader(bytes.NewReader(file), ReaderOptions{}).Next()
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Section()
	if err != nil {
		t.Fatal(err)
	}
	if meta, ok := s.Options.JSON(); !ok || string(meta) != `{"node":"a"}` {
		t.Errorf("the section has JSON %q %v", meta, ok)
	}
}

// checkSame compares a packet with what it was, but for the order of the options.
func checkSame(t *testing.T, got, want Packet) {
	t.Helper()
	if got.Time != want.Time || got.Length != want.Length || !bytes.Equal(got.Data, want.Data) {
		t.Errorf("got %d of %d bytes at %d", len(got.Data), got.Length, got.Time)
	}
	if got.Interface.Name() != want.Interface.Name() || got.Interface.Filter() != want.Interface.Filter() {
		t.Errorf("got interface %q with filter %q", got.Interface.Name(), got.Interface.Filter())
	}
	if a, b := optionTexts(got.Options), optionTexts(want.Options); !slices.Equal(a, b) {
		t.Errorf("got options\n%q, want\n%q", a, b)
	}
}

func optionTexts(o Options) []string {
	var all []string
	for opt := range o.All() {
		all = append(all, fmt.Sprintf("%d: %q", opt.Code, opt.Value))
	}
	slices.Sort(all)
	return all
}
