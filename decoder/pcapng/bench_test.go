// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"io"
	"testing"
)

// smallPackets is a capture of n small packets with an option each, as a busy node makes them.
func smallPackets(b *testing.B, n int, order Order) []byte {
	eth := NewInterface("eth0", "", LinkEthernet, 262144)
	return written(b, WriterOptions{Order: order}, func(w *Writer) error {
		if err := w.WriteSection(Options{}); err != nil {
			return err
		}
		if err := w.AddInterface(eth); err != nil {
			return err
		}
		p := Packet{Interface: eth, Data: append(frame, make([]byte, 18)...)}
		p.Options.AddFlags(FlagInbound)
		for i := range n {
			p.Time = 1_700_000_000e9 + int64(i)
			if err := w.WritePacket(&p); err != nil {
				return err
			}
		}
		return nil
	})
}

func BenchmarkReadPacket(b *testing.B) {
	const n = 100_000
	for _, c := range []struct {
		name  string
		order Order
	}{{"little-endian", LittleEndian}, {"big-endian", BigEndian}} {
		b.Run(c.name, func(b *testing.B) {
			capture := smallPackets(b, n, c.order)
			b.ReportAllocs()
			b.SetBytes(int64(len(capture)))
			for b.Loop() {
				r := NewReader(bytes.NewReader(capture), ReaderOptions{})
				var p Packet
				count := 0
				for ; r.ReadPacket(&p) == nil; count++ {
				}
				if count != n {
					b.Fatalf("read %d packets, want %d", count, n)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

func BenchmarkPassThrough(b *testing.B) {
	const n = 100_000
	capture := smallPackets(b, n, LittleEndian)
	b.ReportAllocs()
	for b.Loop() {
		r, w := NewReader(bytes.NewReader(capture), ReaderOptions{}), NewWriter(io.Discard, WriterOptions{})
		for {
			block, err := r.Next()
			if err != nil {
				break
			}
			if err := w.WriteBlock(block); err != nil {
				b.Fatal(err)
			}
		}
		if w.Size() != int64(len(capture)) {
			b.Fatalf("wrote %d bytes, want %d", w.Size(), len(capture))
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

func BenchmarkWritePacket(b *testing.B) {
	eth := NewInterface("eth0", "", LinkEthernet, 262144)
	w := NewWriter(io.Discard, WriterOptions{})
	if err := w.WriteSection(Options{}); err != nil {
		b.Fatal(err)
	}
	if err := w.AddInterface(eth); err != nil {
		b.Fatal(err)
	}
	p := Packet{Interface: eth, Time: 1_700_000_000e9, Data: frame, Length: 1400}
	event := []byte(`{"v":1,"type":"event"}`)
	b.ReportAllocs()
	for b.Loop() {
		p.Options.Reset()
		p.Options.AddComment("DROP NETFILTER_DROP", Field{"pod", "default/web-0"})
		p.Options.AddFlags(FlagInbound)
		p.Options.AddUint64(PacketID, 1)
		p.Options.AddVerdict(VerdictTC, TCShot)
		p.Options.AddJSON(event)
		if err := w.WritePacket(&p); err != nil {
			b.Fatal(err)
		}
	}
}
