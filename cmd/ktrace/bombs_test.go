// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/event"
	"ktrace/decoder/packet/packettest"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/record"
	"ktrace/decoder/wire"
)

// bomb is a file that a stranger made to take its reader's memory or time.
type bomb struct {
	name  string
	parts int // enough of them to exceed the bound if each were kept
	write func(t testing.TB, w io.Writer, parts int)
	views []string // that are the worst for it, with their flags
	worst bool     // it took much once, in little time: every run of the tests reads it
}

// bombs are captures and recordings. Whatever a reader keeps of a file, one of them is made of that.
func bombs() []bomb {
	return []bomb{
		{"sections", 300e3, writeSections, []string{"dns", "--stats", "-w /dev/null"}, true},
		{"interfaces of sections", 250e3, writeInterfaceSections, []string{"dns", "--stats", "-w /dev/null"}, false},
		{"comments", 1500, writeComments, []string{"--stats", "diagnose", "-w /dev/null"}, true},
		{"names", 4e3, writeNames, []string{"--stats", "dns", "-w /dev/null"}, false},
		{"queries at one time", 150e3, dnsQueries(0), []string{"dns", "diagnose", "-w /dev/null --dedup"}, true},
		{"queries", 150e3, dnsQueries(20e3), []string{"dns", "diagnose"}, false},
		{"large queries", 40e3, largeQueries, []string{"dns", "diagnose"}, false},
		{"SYNs at one time", 150e3, segments(packettest.SYN, 0), []string{"reset", "diagnose", "mtu", "nat"}, false},
		{"SYN-ACKs", 150e3, segments(packettest.SYN|packettest.ACK, 1e3), []string{"reset", "diagnose", "mtu"}, false},
		{"resets at one time", 150e3, segments(packettest.RST|packettest.ACK, 0), []string{"reset", "diagnose"}, true},
		{"resets", 150e3, segments(packettest.RST|packettest.ACK, 1e3), []string{"reset", "diagnose"}, false},
		{"ICMP errors at one time", 150e3, icmpErrors, []string{"reset", "diagnose", "drop"}, false},
		{"time travel", 100e3, timeTravel, []string{"dns", "diagnose", "--stats", "-w /dev/null --dedup"}, false},
		{"TLS handshakes", 50e3, openHandshakes, []string{"diagnose"}, false},
		{"TLS alerts", 50e3, alerts, []string{"diagnose"}, false},
		{"DNS over TCP", 60e3, dnsOverTCP, []string{"dns", "diagnose"}, false},
		{"VLANs in VLANs", 5e3, nested(vlans), []string{"dns", "diagnose", ""}, false},
		{"tunnels in tunnels", 5e3, nested(tunnels), []string{"dns", "diagnose", ""}, false},
		{"runs", 20e3, writeRuns, []string{"dns", "diagnose"}, true},
		{"pods", 60e3, writePods, []string{"dns", "diagnose"}, false},
		{"facts of namespaces", 60e3, writeNetnsFacts, []string{"dns", "diagnose"}, false},
		{"drops by a rule", 3600, repeated("drop-netfilter-reject", 20e6), []string{"drop", "diagnose", "drop -o json"}, false},
		{"drops by a rule at one time", 3600, repeated("drop-netfilter-reject", 0), []string{"drop", "diagnose"}, true},
		{"resets of a recording", 3000, repeated("reset-reset-by-application", 20e6), []string{"reset", "diagnose"}, false},
		{"queries of a recording", 3000, repeated("dns-service-dnat-miss", 20e6), []string{"dns", "diagnose", "nat"}, false},
		{"a node's faults", 1200, repeated("diagnose-ip-forward-disabled", 20e6), []string{"diagnose"}, false},
		{"large packets", 1500, repeated("mtu-mtu-exceeded", 20e6), []string{"mtu", "diagnose"}, false},
		{"stale endpoints", 3000, repeated("nat-service-stale-endpoint", 20e6), []string{"nat", "diagnose"}, false},
		{"syncs", 1800, repeated("fsync-wal", 20e6), []string{"fsync", "diagnose"}, false},
	}
}

// file writes a bomb of so many parts and returns its path and size.
func (b bomb) file(t testing.TB, parts int) (string, int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "bomb"))
	if err != nil {
		t.Fatal(err)
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	b.write(t, buffered, parts)
	if err := buffered.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name(), info.Size()
}

// bombTime is when what captures hold begins, in nanoseconds since 1970.
const bombTime = int64(1_700_000_000e9)

// bombWriter writes a capture, of which an error ends the test.
type bombWriter struct {
	t testing.TB
	*pcapng.Writer
	at *pcapng.Interface
}

// newBombWriter begins a section with an interface.
func newBombWriter(t testing.TB, w io.Writer) bombWriter {
	b := bombWriter{t: t, Writer: pcapng.NewWriter(w, pcapng.WriterOptions{})}
	return b.section()
}

func (b bombWriter) section() bombWriter {
	b.check(b.WriteSection(pcapng.Options{}))
	return b.iface("eth0")
}

func (b bombWriter) iface(name string) bombWriter {
	b.at = pcapng.NewInterface(name, "", pcapng.LinkEthernet, 0)
	b.check(b.AddInterface(b.at))
	return b
}

func (b bombWriter) packet(at int64, data []byte, o pcapng.Options) {
	b.check(b.WritePacket(&pcapng.Packet{Interface: b.at, Time: at, Data: data, Options: o}))
}

func (b bombWriter) check(err error) {
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b bombWriter) end() { b.check(b.Flush()) }

// flowOf are the ends of the i-th of many connections of clients to a server.
func flowOf(i int, port uint16) (client, server netip.AddrPort) {
	host := i / 60000
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(host >> 8), byte(host)}), uint16(1024+i%60000)),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, 2}), port)
}

// small is a datagram that says nothing.
func small() []byte {
	client, server := flowOf(0, 9)
	return packettest.Frame(packettest.UDP(client, server, []byte("x")))
}

func writeSections(t testing.TB, w io.Writer, parts int) {
	b, data := newBombWriter(t, w), small()
	for range parts {
		b = b.section()
		b.packet(bombTime, data, pcapng.Options{})
	}
	b.end()
}

func writeInterfaceSections(t testing.TB, w io.Writer, parts int) {
	const each = 50000 // below what a section may have
	b, data := newBombWriter(t, w), small()
	for i := range parts {
		if i%each == 0 {
			b = b.section()
		}
		b = b.iface(fmt.Sprint("if", i))
		b.packet(bombTime, data, pcapng.Options{})
	}
	b.end()
}

// writeComments writes packets with a comment each that no other has.
func writeComments(t testing.TB, w io.Writer, parts int) {
	b, data := newBombWriter(t, w), small()
	for i := range parts {
		var o pcapng.Options
		o.AddText(pcapng.OptComment, fmt.Sprintf("%09d%s", i, bytes.Repeat([]byte("pod=a/b "), 6000)))
		b.packet(bombTime, data, o)
	}
	b.end()
}

func writeNames(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	for i := range parts {
		names := make([]pcapng.Name, 64)
		for j := range names {
			n := i*len(names) + j
			names[j] = pcapng.Name{Address: netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)}), Name: fmt.Sprintf("h%0200d", n)}
		}
		b.check(b.WriteNames(names, pcapng.Options{}))
	}
	b.packet(bombTime, small(), pcapng.Options{})
	b.end()
}

// query asks for a name that no other query asks for.
func query(i int, name string) []byte {
	return packettest.Build(&layers.DNS{ID: uint16(i), RD: true, Questions: []layers.DNSQuestion{
		{Name: []byte(name), Type: layers.DNSTypeA, Class: layers.DNSClassIN}}})
}

// dnsQueries are queries without answers, so many nanoseconds apart.
func dnsQueries(apart int64) func(testing.TB, io.Writer, int) {
	return func(t testing.TB, w io.Writer, parts int) {
		b := newBombWriter(t, w)
		for i := range parts {
			client, server := flowOf(i, 53)
			b.packet(bombTime+int64(i)*apart, packettest.Frame(packettest.UDP(client, server, query(i, fmt.Sprintf("n%x.example", i)))), pcapng.Options{})
		}
		b.end()
	}
}

// largeQueries have the longest names that there are, and are seen at many devices.
func largeQueries(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	label := bytes.Repeat([]byte("x"), 60)
	for i := range parts {
		client, server := flowOf(i, 53)
		name := fmt.Sprintf("%s.%s.%s.%09d", label, label, label, i)
		b.packet(bombTime+int64(i)*20e3, packettest.Frame(packettest.UDP(client, server, query(i, name))), pcapng.Options{})
	}
	b.end()
}

// segments are TCP segments of a connection each, so many nanoseconds apart.
func segments(flags uint8, apart int64) func(testing.TB, io.Writer, int) {
	return func(t testing.TB, w io.Writer, parts int) {
		b := newBombWriter(t, w)
		for i := range parts {
			client, server := flowOf(i, 80)
			if flags != packettest.SYN {
				client, server = server, client
			}
			b.packet(bombTime+int64(i)*apart, packettest.Frame(packettest.TCP(client, server, flags, 1, 1, nil)), pcapng.Options{})
		}
		b.end()
	}
}

func icmpErrors(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	for i := range parts {
		client, server := flowOf(i, 53)
		lost := packettest.UDP(client, server, []byte("12345678"))
		b.packet(bombTime, packettest.Frame(packettest.ICMPError(server.Addr(), 3, 3, 0, lost)), pcapng.Options{})
	}
	b.end()
}

func timeTravel(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	r := rand.New(rand.NewPCG(1, 1))
	times := []int64{0, 1, bombTime, 1 << 60, 1<<63 - 1}
	for i := range parts {
		client, server := flowOf(i, 53)
		b.packet(times[r.IntN(len(times))], packettest.Frame(packettest.UDP(client, server, query(i, fmt.Sprintf("n%x.example", i)))), pcapng.Options{})
	}
	b.end()
}

// openHandshakes are the first segments of long ones, which never end.
func openHandshakes(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	hello := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, bytes.Repeat([]byte("x"), 1200)...)
	for i := range parts {
		client, server := flowOf(i, 443)
		b.packet(bombTime+int64(i)*1e3, packettest.Frame(packettest.TCP(client, server, packettest.ACK, 1, 1, hello)), pcapng.Options{})
	}
	b.end()
}

// alerts are fatal ones, a few of each server.
func alerts(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	for i := range parts {
		client, _ := flowOf(i, 443)
		server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i / 3 >> 8), byte(i / 3)}), 443)
		b.packet(bombTime+int64(i)*10e3, packettest.Frame(packettest.TCP(client, server, packettest.ACK, 1, 1, []byte{21, 3, 1, 0, 2, 2, 42})), pcapng.Options{})
	}
	b.end()
}

// dnsOverTCP are connections on which a query begins that never ends.
func dnsOverTCP(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	q := append([]byte{0xff, 0xff}, bytes.Repeat([]byte{0}, 500)...)
	for i := range parts {
		client, server := flowOf(i/2, 53)
		flags, payload := uint8(packettest.SYN), []byte(nil)
		if i%2 == 1 {
			flags, payload = packettest.ACK|packettest.PSH, q
		}
		b.packet(bombTime+int64(i)*10e3, packettest.Frame(packettest.TCP(client, server, flags, uint32(i%2), 1, payload)), pcapng.Options{})
	}
	b.end()
}

// nested are packets in as many headers as fit.
func nested(wrap func(packet []byte) []byte) func(testing.TB, io.Writer, int) {
	return func(t testing.TB, w io.Writer, parts int) {
		b := newBombWriter(t, w)
		client, server := flowOf(0, 53)
		frame := wrap(packettest.UDP(client, server, query(0, "a.example")))
		for i := range parts {
			b.packet(bombTime+int64(i), frame, pcapng.Options{})
		}
		b.end()
	}
}

func vlans(packet []byte) []byte {
	all := []gopacket.SerializableLayer{packettest.Ethernet(layers.EthernetTypeDot1Q)}
	const deep = 2000
	for i := range deep {
		tag := &layers.Dot1Q{VLANIdentifier: 1, Type: layers.EthernetTypeDot1Q}
		if i == deep-1 {
			tag.Type = layers.EthernetTypeIPv4
		}
		all = append(all, tag)
	}
	return packettest.Build(append(all, gopacket.Payload(packet))...)
}

func tunnels(packet []byte) []byte {
	client, server := flowOf(0, 0)
	for range 200 {
		packet = packettest.Build(packettest.IPv4(client.Addr(), server.Addr(), layers.IPProtocolIPv4), gopacket.Payload(packet))
	}
	return packettest.Frame(packet)
}

// factsWriter writes a recording of facts.
type factsWriter struct {
	t testing.TB
	*record.Writer
}

func newFactsWriter(t testing.TB, w io.Writer) factsWriter {
	to, err := record.NewWriter(w)
	if err != nil {
		t.Fatal(err)
	}
	return factsWriter{t, to}
}

func (w factsWriter) fact(f event.Fact) {
	raw, err := event.EncodeFact(1e9, f)
	if err == nil {
		err = w.Record(raw)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// writeRuns writes what many runs of ktrace begin with.
func writeRuns(t testing.TB, w io.Writer, parts int) {
	to := newFactsWriter(t, w)
	for i := range parts {
		to.fact(event.Fact{Node: &event.Node{Name: fmt.Sprint("node", i), Wall: 1700000000e9}})
	}
}

func writePods(t testing.TB, w io.Writer, parts int) {
	to := newFactsWriter(t, w)
	to.fact(event.Fact{Node: &event.Node{Name: "node", Wall: 1700000000e9}})
	for i := range parts {
		labels := map[string]string{}
		for j := range 20 {
			labels[fmt.Sprint("label", j)] = fmt.Sprintf("%0200d", i)
		}
		to.fact(event.Fact{Pod: &event.PodFact{
			UID: fmt.Sprintf("%08d-1111-4222-8333-999999999999", i), Namespace: "many", Name: fmt.Sprint("pod", i), Netns: uint32(i), Labels: labels,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
		}})
	}
}

func writeNetnsFacts(t testing.TB, w io.Writer, parts int) {
	to := newFactsWriter(t, w)
	to.fact(event.Fact{Node: &event.Node{Name: "node", Wall: 1700000000e9}})
	for i := range parts {
		netns := uint32(i)
		long := fmt.Sprintf("%02000d", i)
		to.fact(event.Fact{Sysctl: &event.Sysctl{Netns: netns, Key: long, Value: long}})
		to.fact(event.Fact{Symbol: &event.Symbol{Address: uint64(i), Name: long}})
		to.fact(event.Fact{Device: &event.Device{Netns: netns, Ifindex: 1, Name: long}})
		to.fact(event.Fact{Service: &event.ServiceFact{Namespace: "many", Name: long, Netns: netns,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}}})
	}
}

// repeated is a recording whose records come again and again, so many nanoseconds later each time, of other connections,
// journeys and processes.
func repeated(name string, apart uint64) func(testing.TB, io.Writer, int) {
	return func(t testing.TB, w io.Writer, parts int) {
		file, err := os.Open("../../testdata/records/" + name + ".rec")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		from, err := record.NewReader(bufio.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		var all [][]byte
		for {
			raw, err := from.Next(t.Context())
			if err != nil {
				break
			}
			all = append(all, bytes.Clone(raw))
		}
		to, err := record.NewWriter(w)
		if err != nil {
			t.Fatal(err)
		}
		for i := range parts {
			for _, raw := range all {
				if i > 0 && binary.LittleEndian.Uint16(raw[4:]) == uint16(wire.KindFact) {
					continue
				}
				if err := to.Record(again(raw, i, apart)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// again is a record of another connection, i times so much later.
func again(raw []byte, i int, apart uint64) []byte {
	raw = bytes.Clone(raw)
	put := binary.LittleEndian
	put.PutUint64(raw[8:], put.Uint64(raw[8:])+uint64(i)*apart)
	if journey := put.Uint64(raw[40:]); journey != 0 {
		put.PutUint64(raw[40:], journey+uint64(i)<<32)
	}
	put.PutUint32(raw[16:], put.Uint32(raw[16:])+uint32(i)*1000)
	if kind := wire.Kind(put.Uint16(raw[4:])); kind == wire.KindHop || kind == wire.KindDrop || kind == wire.KindSock {
		for _, at := range []int{64, 104, 144} { // the tuples of a packet
			for _, port := range []int{at + 32, at + 34} {
				if n := put.Uint16(raw[port:]); n > 1024 {
					put.PutUint16(raw[port:], uint16(1025+(int(n)+i)%64000))
				}
			}
		}
	}
	return raw
}
