// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/pcapng"
	"ktrace/testdata/lab"
)

// meant is what ktrace wrote of one packet.
type meant struct {
	at                  int64
	length              uint32
	data                string
	iface, about        string
	comment, json       string
	way                 pcapng.Flags
	id, drops           uint64
	dropped             bool
	source, destination string // as it is called, "" of what is not IPv4
	options             []string
}

// meantIn reads a capture with ktrace's own reader, which tests of its own hold to the format.
func meantIn(t *testing.T, file string) (all []meant) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names := map[netip.Addr]string{}
	r := pcapng.NewReader(f, pcapng.ReaderOptions{})
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case b.Type == pcapng.BlockNames:
			named, err := b.Names()
			if err != nil {
				t.Fatal(err)
			}
			for n := range named {
				names[n.Address] = n.Name
			}
		case b.IsPacket():
			var p pcapng.Packet
			if err := b.Packet(&p); err != nil {
				t.Fatal(err)
			}
			all = append(all, meaning(&p, names))
		}
	}
}

func meaning(p *pcapng.Packet, names map[netip.Addr]string) meant {
	m := meant{
		at: p.Time, length: p.Length, data: string(p.Data), iface: p.Interface.Name(), about: p.Interface.Description(),
		comment: strings.Join(p.Options.Comments(), ","), way: p.Flags().Direction(),
	}
	m.id, _ = p.ID()
	m.drops, _ = p.DropCount()
	for v := range p.Verdicts() {
		m.dropped = v.Kind == pcapng.VerdictTC && v.Value == pcapng.TCShot
	}
	text, _ := p.Options.JSON()
	m.json = string(text)
	for o := range p.Options.All() {
		if o.Code != pcapng.PacketProcess { // which editcap up to 4.4 leaves out
			m.options = append(m.options, fmt.Sprintf("%d:%x", o.Code, o.Value))
		}
	}
	slices.Sort(m.options)
	const ether, ipv4 = 14, 20
	if len(p.Data) >= ether+ipv4 && p.Data[12] == 8 && p.Data[13] == 0 {
		called := func(at int) string {
			a := netip.AddrFrom4([4]byte([]byte(p.Data[at:])))
			if name, ok := names[a]; ok {
				return name
			}
			return a.String()
		}
		m.source, m.destination = called(ether+12), called(ether+16)
	}
	return m
}

// tsharkFields are what tshark shows of a packet, and what it must be.
func tsharkFields() []struct {
	field string
	want  func(meant) string
} {
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	return []struct {
		field string
		want  func(meant) string
	}{
		{"frame.time_epoch", func(m meant) string { return fmt.Sprintf("%d.%09d", m.at/1e9, m.at%1e9) }},
		{"frame.len", func(m meant) string { return strconv.Itoa(int(m.length)) }},
		{"frame.cap_len", func(m meant) string { return strconv.Itoa(len(m.data)) }},
		{"frame.interface_name", func(m meant) string { return m.iface }},
		{"frame.interface_description", func(m meant) string { return m.about }},
		{"frame.comment", func(m meant) string { return m.comment }},
		{"frame.packet_flags_direction", func(m meant) string {
			if m.way == 0 {
				return ""
			}
			return fmt.Sprintf("0x%08x", uint32(m.way))
		}},
		{"frame.packet_id", func(m meant) string { return number(m.id) }},
		{"frame.drop_count", func(m meant) string { return number(m.drops) }},
		{"frame.verdict.ebpf_tc", func(m meant) string {
			if m.dropped {
				return "2"
			}
			return ""
		}},
		{"ip.src_host", func(m meant) string { return m.source }},
		{"ip.dst_host", func(m meant) string { return m.destination }},
	}
}

// checkTshark compares what tshark shows of each packet with what was meant.
func checkTshark(t *testing.T, file string, all []meant) {
	t.Helper()
	args := []string{"tshark", "-n", "-N", "n", "-r", file, "-Y", "frame.interface_name", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"}
	fields := tsharkFields()
	for _, f := range fields {
		args = append(args, "-e", f.field)
	}
	lines := strings.Split(strings.TrimSuffix(tool(t, args...), "\n"), "\n")
	if len(lines) != len(all) {
		t.Fatalf("tshark shows %d packets, want %d", len(lines), len(all))
	}
	for i, line := range lines {
		got := strings.Split(line, "|")
		for j, f := range fields {
			if want := f.want(all[i]); got[j] != want {
				t.Errorf("packet %d: %s is %q, want %q", i, f.field, got[j], want)
			}
		}
	}
}

// checkTools has every program read a file, and compares what comes out of those that write.
func checkTools(t *testing.T, file string, old bool) {
	t.Helper()
	all := meantIn(t, file)
	if len(all) == 0 {
		t.Fatal("no packets")
	}
	checkTshark(t, file, all)
	if n := strings.Count(tool(t, "tcpdump", "-nr", file), "\n"); n != len(all) {
		t.Errorf("tcpdump shows %d packets, want %d", n, len(all))
	}
	if out := tool(t, "capinfos", "-M", "-c", file); !strings.Contains(out, fmt.Sprintf("Number of packets:   %d\n", len(all))) {
		t.Errorf("%d packets, capinfos says\n%s", len(all), out)
	}
	edited, merged := filepath.Join(t.TempDir(), "e.pcapng"), filepath.Join(t.TempDir(), "m.pcapng")
	tool(t, "editcap", file, edited)
	tool(t, "mergecap", "-w", merged, file, file)
	if twice := meantIn(t, merged); len(twice) != 2*len(all) {
		t.Errorf("%d packets merged with themselves, want %d", len(twice), 2*len(all))
	}
	again := meantIn(t, edited)
	if len(again) != len(all) {
		t.Fatalf("editcap left %d packets of %d", len(again), len(all))
	}
	for i, want := range all {
		got := again[i]
		if got.at != want.at || got.length != want.length || got.data != want.data || got.iface != want.iface || got.about != want.about {
			t.Errorf("editcap made of packet %d %q at %d on %s", i, got.data, got.at, got.iface)
		}
		if got.comment != want.comment || got.way != want.way || got.id != want.id || got.json != want.json || got.drops != want.drops {
			t.Errorf("editcap made of packet %d\n%+v, it was\n%+v", i, got, want)
		}
		if old && !slices.Equal(got.options, want.options) {
			t.Errorf("editcap made of the options of packet %d\n%s, they were\n%s", i, got.options, want.options)
		}
	}
}

// eventful is a pod with a name and what happens to it: answers, a refusal, a drop, a packet too big.
func eventful(t *testing.T) (p *lab.Pod, k *lab.Kubelet, traffic func()) {
	c := lab.NewCluster(t)
	k = lab.NewKubelet(t)
	p = c.AddPod("pod")
	k.Pod("default", "web-0").Start("app", p.NS, "sleep", "600")
	f := dnsFamilies()[0]
	f.cluster(t, c, p)
	c.Node.Run("iptables", "-A", "FORWARD", "-p", "icmp", "-m", "length", "--length", "500:600", "-j", "DROP")
	c.Node.IP("link set uplink mtu 1300")
	return p, k, func() {
		lookup(p, f.service, "web.example.org")
		lookup(p, f.service, "no-such.example.org")
		fetch(p.NS, f.server+":81", time.Second)
		pingFrom(p.NS, f.server, "-s", "500")
		pingFrom(p.NS, f.server, "-s", "1400", "-M", "do")
	}
}

func TestToolsReadWhatEveryVerbWrites(t *testing.T) {
	t.Parallel()
	p, k, traffic := eventful(t)
	dir := t.TempDir()
	var runs []*lab.Run
	verbs := []string{"dns", "drop", "reset", "nat", "mtu", "diagnose", "capture"}
	compat := map[string][]string{"new": nil, "old": {"--compat", "wireshark-4.0"}}
	for _, verb := range verbs {
		for name, flags := range compat {
			if verb == "diagnose" { // or it ends before all are attached where that takes 15 s
				flags = append(flags, "--duration", "1h")
			}
			args := []string{verb, "--netns", p.Path(), "--host-root", k.Root, "-w", filepath.Join(dir, verb+"-"+name+".pcapng")}
			runs = append(runs, lab.Ktrace(t, append(args, flags...)...))
		}
	}
	traffic()
	for _, run := range runs {
		run.Stop()
	}
	for _, verb := range verbs {
		for name := range compat {
			t.Run(verb+" "+name, func(t *testing.T) {
				checkTools(t, filepath.Join(dir, verb+"-"+name+".pcapng"), name == "old")
			})
		}
	}
}

func TestToolsReadRowsOfSyncs(t *testing.T) {
	disk := newDisk(t, "ext4")
	fd := open(t, filepath.Join(directory(t, disk, "wal"), "0.wal"), 0)
	const syncs = 23
	for _, flags := range [][]string{nil, {"--compat", "wireshark-4.0"}} {
		file := filepath.Join(t.TempDir(), "x.pcapng")
		during(t, func() { own(t, fd, syncs) }, append([]string{"--path", disk, "--slow", every, "--mixed", "-w", file}, flags...)...)
		rows := tool(t, "tshark", "-r", file, "-Y", `json.path_with_value == "/kind:fsync"`, "-T", "fields", "-e", "frame.interface_name", "-e", "_ws.col.Protocol")
		if n := strings.Count(rows, "events@"); n != syncs {
			t.Errorf("%d rows of syncs, want %d:\n%s", n, syncs, rows)
		}
		tool(t, "capinfos", file)
		edited, merged := filepath.Join(t.TempDir(), "e.pcapng"), filepath.Join(t.TempDir(), "m.pcapng")
		tool(t, "editcap", file, edited)
		tool(t, "mergecap", "-w", merged, file, file)
		if all := meantIn(t, merged); len(all) < 2*syncs {
			t.Errorf("%d rows merged with themselves", len(all))
		}
	}
}

// TestToolsReadACaptureWithoutPackets: syncs are no packets, and a capture of nothing is one too.
func TestToolsReadACaptureWithoutPackets(t *testing.T) {
	disk := newDisk(t, "ext4")
	file := filepath.Join(t.TempDir(), "x.pcapng")
	fd := open(t, filepath.Join(directory(t, disk, "wal"), "0.wal"), 0)
	during(t, func() { own(t, fd, 1) }, "--path", disk, "--slow", every, "-w", file)
	if out := tool(t, "tcpdump", "-nr", file); out != "" {
		t.Errorf("tcpdump shows %q", out)
	}
	for _, args := range [][]string{{"tshark", "-r", file}, {"capinfos", file}, {"editcap", file, file + ".e"}, {"mergecap", "-w", file + ".m", file, file}} {
		tool(t, args...)
	}
}
