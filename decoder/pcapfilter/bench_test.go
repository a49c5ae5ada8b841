// SPDX-License-Identifier: Apache-2.0

package pcapfilter_test

import (
	"testing"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
)

var typical = []struct{ name, expr string }{
	{"tcp_port", "tcp port 443"},
	{"port", "port 53"},
	{"host", "host 10.244.1.2"},
	{"host_and_port", "host 10.244.1.2 and (port 80 or 443)"},
	{"flags", "ip and tcp[tcpflags] & (tcp-syn|tcp-rst) != 0"},
	{"not", "not port 22 and not arp"},
}

// benchmark runs match over the whole frames of the corpus, as many as the corpus has to a round.
func benchmark(b *testing.B, match func(data []byte) bool) {
	packets := filtertest.Packets()[:80]
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		match(packets[i%len(packets)].Data)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpkt/s")
}

func BenchmarkMatch(b *testing.B) {
	for _, f := range typical {
		e, err := pcapfilter.Parse(f.expr)
		if err != nil {
			b.Fatal(err)
		}
		p, err := e.Compile(pcapfilter.LinkEthernet)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(f.name, func(b *testing.B) {
			benchmark(b, func(data []byte) bool { return p.Match(pcapfilter.Packet{Data: data, Length: len(data)}) })
		})
	}
}

// BenchmarkClassicBPF interprets libpcap's program for the same filters, to compare with.
func BenchmarkClassicBPF(b *testing.B) {
	for _, f := range typical {
		o, err := filtertest.Compile("EN10MB", f.expr, true)
		if err != nil {
			b.Skipf("tcpdump is needed to compile %q: %v", f.expr, err)
		}
		b.Run(f.name, func(b *testing.B) {
			benchmark(b, func(data []byte) bool { return o.Match(data, len(data), filtertest.Beside{}) })
		})
	}
}
