package main

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"ktrace/decoder/pcapng"
)

// mixed is a capture of n packets of 4000 flows: half of them full TCP segments, a quarter acknowledgements, the rest
// DNS queries and their answers.
func mixed(t testing.TB, n int) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "mixed.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapng.NewWriter(file, pcapng.WriterOptions{})
	eth := pcapng.NewInterface("eth0", "", pcapng.LinkEthernet, 262144)
	if err := w.WriteSection(pcapng.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := w.AddInterface(eth); err != nil {
		t.Fatal(err)
	}
	p := pcapng.Packet{Interface: eth}
	for i := range n {
		p.Data = mixedFrame(i)
		p.Length, p.Time = uint32(len(p.Data)), 1_700_000_000e9+int64(i)*5000
		p.Options.Reset()
		p.Options.AddFlags(pcapng.FlagOutbound >> (i % 8 / 7)) // answers come in
		if err := w.WritePacket(&p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

func mixedFrame(i int) []byte {
	flow := i / 8 % 500
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, byte(flow)}), uint16(32768+flow))
	web, dns := netip.MustParseAddrPort("10.244.2.9:443"), netip.MustParseAddrPort("10.96.0.10:53")
	switch i % 8 {
	case 3:
		return udpFrame(client, dns, message(i, 0x0100, 0))
	case 7:
		return udpFrame(dns, client, message(i-4, 0x8180, 1))
	case 1, 5:
		return tcpFrame(client, web, i, 0x10, 0)
	}
	return tcpFrame(client, web, i, 0x18, 512)
}

// ipFrame is an Ethernet frame of an IPv4 packet.
func ipFrame(src, dst netip.Addr, id int, proto, ttl byte, body []byte) []byte {
	b := append(make([]byte, 12), 8, 0, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(id))
	b = append(b, 0x40, 0, ttl, proto, 0, 0)
	return append(append(append(b, src.AsSlice()...), dst.AsSlice()...), body...)
}

func udpFrame(src, dst netip.AddrPort, payload []byte) []byte {
	var b []byte
	for _, v := range []uint16{src.Port(), dst.Port(), uint16(8 + len(payload)), 0} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return ipFrame(src.Addr(), dst.Addr(), 0, 17, 64, append(b, payload...))
}

func tcpFrame(src, dst netip.AddrPort, seq int, flags byte, size int) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
	b = binary.BigEndian.AppendUint32(b, uint32(seq))
	b = append(b, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0)
	return ipFrame(src.Addr(), dst.Addr(), seq, 6, 64, append(b, bytes.Repeat([]byte{'x'}, size)...))
}

// message is a DNS query for the address of web.example.org, or its answer.
func message(id int, flags uint16, answers byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(id)), flags)
	b = append(b, 0, 1, 0, answers, 0, 0, 0, 0, 3, 'w', 'e', 'b', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'o', 'r', 'g', 0, 0, 1, 0, 1)
	if answers > 0 {
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
	}
	return b
}

// BenchmarkRead reads 100,000 packets once an iteration.
func BenchmarkRead(b *testing.B) {
	const n = 100_000
	file := mixed(b, n)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"stats", []string{"--stats"}},
		{"stats filtered", []string{"--stats", "udp port 53"}},
		{"copy filtered", []string{"-w", filepath.Join(b.TempDir(), "x.pcapng"), "udp port 53"}},
		{"text", nil},
		{"dns", []string{"dns"}},
		{"drop", []string{"drop"}},
		{"reset", []string{"reset"}},
		{"diagnose", []string{"diagnose"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ktraceRead(b, append([]string{file}, c.args...)...)
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}
