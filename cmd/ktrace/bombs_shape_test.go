// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/event"
	"ktrace/decoder/packet/packettest"
	"ktrace/decoder/pcapng"
)

// shapes are bombs of what formats and protocols allow and no writer makes.
func shapes() []bomb {
	return []bomb{
		{"a million interfaces", 1e6, rawBlocks(func(i int) []byte { return block(1, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }), []string{"", "--stats"}, false},
		{"options", 1500, rawBlocks(optionsBlock), []string{"", "--stats", "-w /dev/null"}, false},
		{"secrets", 200, rawBlocks(func(int) []byte { return block(10, append([]byte("KSLT\xf8\xff\x0f\x00"), make([]byte, 1<<20-8)...)) }), []string{"", "-w /dev/null"}, false},
		{"resolutions", 60e3, rawBlocks(resolutionBlock), []string{"", "dns", "--stats", "-w /dev/null"}, false},
		{"a block of zeros, compressed", 100, packedZeros(1), []string{"", "--stats"}, false},
		{"zeros, compressed twice", 100, packedZeros(2), []string{"", "--stats"}, false},
		{"fragments", 150e3, fragments, []string{"dns", "diagnose"}, false},
		{"overlapping segments", 60e3, overlaps, []string{"dns", "diagnose"}, false},
		{"names that point to themselves", 60e3, pointers, []string{"dns", "diagnose", "-w /dev/null"}, false},
		{"records of one byte", 60e3, tinyRecords, []string{"diagnose"}, false},
		{"rules that dropped", 20e3, writeDropRules, []string{"drop", "diagnose"}, true},
	}
}

// block is one of pcapng.
func block(kind uint32, body []byte) []byte {
	size := uint32(12 + (len(body)+3)/4*4)
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, size)
	b = append(b, body...)
	b = append(b, make([]byte, int(size)-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, size)
}

// section is its first block, and ethernet an interface.
func section() []byte {
	return block(sectionMagic, []byte{0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255})
}

func ethernet() []byte { return block(1, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// rawBlocks is a section with an interface and so many blocks.
func rawBlocks(one func(i int) []byte) func(testing.TB, io.Writer, int) {
	return func(t testing.TB, w io.Writer, parts int) {
		writeAll(t, w, section())
		writeAll(t, w, ethernet())
		for i := range parts {
			writeAll(t, w, one(i))
		}
	}
}

func writeAll(t testing.TB, w io.Writer, b []byte) {
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// packetBlock is an enhanced packet block.
func packetBlock(iface uint32, at uint64, data, options []byte) []byte {
	var b []byte
	for _, n := range []uint32{iface, uint32(at >> 32), uint32(at), uint32(len(data)), uint32(len(data))} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	b = append(b, data...)
	return block(6, append(append(b, make([]byte, -len(data)&3)...), options...))
}

// optionsBlock is a packet with as many options as there is room for, each another.
func optionsBlock(i int) []byte {
	var options []byte
	for j := range 1 << 13 {
		options = append(options, byte(1+j%7), byte(j%3*11), 4, 0, byte(i), byte(i>>8), byte(j), byte(j>>8))
	}
	return packetBlock(0, uint64(bombTime/1000), small(), options)
}

// resolutionBlock is an interface with a resolution that clocks do not have, and a packet at a time that they do not have either.
func resolutionBlock(i int) []byte {
	resolution := []byte{6, 9, 127, 128 + 63, 255, 128 + 127}[i%6]
	one := block(1, []byte{1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, resolution, 0, 0, 0})
	return append(one, packetBlock(uint32(1+i), extremes()[i%len(extremes())], small(), nil)...)
}

// packedZeros is a section with a block of so many MiB of zeros, compressed again and again.
func packedZeros(times int) func(testing.TB, io.Writer, int) {
	return func(t testing.TB, w io.Writer, parts int) {
		to, all := w, []*gzip.Writer(nil)
		for range times {
			z := gzip.NewWriter(to)
			all = append(all, z)
			to = z
		}
		writeAll(t, to, section())
		writeAll(t, to, ethernet())
		head := binary.LittleEndian.AppendUint32(nil, 6)
		writeAll(t, to, binary.LittleEndian.AppendUint32(head, uint32(parts)<<20))
		nothing := make([]byte, 1<<20)
		for range parts {
			writeAll(t, to, nothing)
		}
		for i := len(all) - 1; i >= 0; i-- {
			if err := all[i].Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// fragments are those of large answers, of which one is always missing.
func fragments(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	for i := range parts {
		ip := packettest.IPv4(netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.1.0.1"), layers.IPProtocolUDP)
		ip.Id, ip.FragOffset, ip.Flags = uint16(i/64), uint16(1+i%64*8), layers.IPv4MoreFragments
		b.packet(bombTime+int64(i)*1e4, packettest.Frame(packettest.Build(ip, gopacket.Payload(make([]byte, 64)))), pcapng.Options{})
	}
	b.end()
}

// overlaps are segments of DNS over TCP that overlap, or lie behind a gap.
func overlaps(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	client, server := flowOf(0, 53)
	data := append([]byte{0xff, 0xff}, bytes.Repeat([]byte("x"), 500)...)
	b.packet(bombTime, packettest.Frame(packettest.TCP(client, server, packettest.SYN, 0, 0, nil)), pcapng.Options{})
	for i := range parts {
		seq := uint32(3 + i*7919%(1<<20))
		b.packet(bombTime+int64(1+i)*1e4, packettest.Frame(packettest.TCP(client, server, packettest.ACK|packettest.PSH, seq, 1, data)), pcapng.Options{})
	}
	b.end()
}

// pointers are queries whose names are compressed to point to themselves, to each other, or on and on.
func pointers(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	for i := range parts {
		client, server := flowOf(i, 53)
		q := []byte{byte(i), byte(i >> 8), 0x81, 0x80, 0, 1, 0, 60, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1}
		for j := range 60 {
			q = append(q, 1, 'a', 0xc0, byte(12+j*14), 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, byte(18+j*14))
		}
		b.packet(bombTime+int64(i)*1e4, packettest.Frame(packettest.UDP(server, client, q)), pcapng.Options{})
	}
	b.end()
}

// tinyRecords are handshakes in records of a byte each, many in a segment.
func tinyRecords(t testing.TB, w io.Writer, parts int) {
	b := newBombWriter(t, w)
	data := bytes.Repeat([]byte{22, 3, 1, 0, 1, 1}, 200)
	for i := range parts {
		client, server := flowOf(i/50, 443)
		b.packet(bombTime+int64(i)*1e4, packettest.Frame(packettest.TCP(client, server, packettest.ACK, uint32(1+i%50*len(data)), 1, data)), pcapng.Options{})
	}
	b.end()
}

// writeDropRules writes what is said of the rules that may have dropped packets, many of each.
func writeDropRules(t testing.TB, w io.Writer, parts int) {
	to := newFactsWriter(t, w)
	to.fact(event.Fact{Node: &event.Node{Name: "node", Wall: 1700000000e9}})
	for i := range parts {
		rules := make([]event.Candidate, 16)
		for j := range rules {
			rules[j] = event.Candidate{RuleFact: event.RuleFact{System: "nftables", Table: "t", Chain: fmt.Sprint("c", j), Text: fmt.Sprintf("%0500d", i)}}
		}
		client, server := flowOf(i, 80)
		to.fact(event.Fact{DropRules: &event.DropRules{About: event.LookupKey{Netns: uint32(i), Src: client, Dst: server, Proto: "tcp"}, Candidates: rules}})
	}
}
