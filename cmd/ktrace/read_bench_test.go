// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"ktrace/decoder/packet/packettest"
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
		return tcpFrame(client, web, uint32(i), packettest.ACK, nil)
	}
	return tcpFrame(client, web, uint32(i), packettest.PSH|packettest.ACK, filler(512))
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
