// SPDX-License-Identifier: Apache-2.0

package pcapfilter_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
)

// needOracle skips where there is no tcpdump to compare with; CI has one.
func needOracle(t *testing.T) {
	t.Helper()
	if !filtertest.Available() {
		t.Skip("tcpdump is not installed: there is no libpcap to compare with")
	}
}

func compile(t *testing.T, link pcapfilter.LinkType, expr string) *pcapfilter.Program {
	t.Helper()
	e, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	p, err := e.Compile(link)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return p
}

// links are the link types that files have, by tcpdump's names.
var links = []struct {
	link pcapfilter.LinkType
	name string
	// from makes a packet of this link type of an Ethernet frame.
	from func(frame []byte) []byte
}{
	{pcapfilter.LinkEthernet, "EN10MB", func(f []byte) []byte { return f }},
	{pcapfilter.LinkRaw, "RAW", func(f []byte) []byte { return f[14:] }},
	{pcapfilter.LinkIPv4, "IPV4", func(f []byte) []byte { return f[14:] }},
	{pcapfilter.LinkIPv6, "IPV6", func(f []byte) []byte { return f[14:] }},
	{pcapfilter.LinkNull, "NULL", func(f []byte) []byte { return append([]byte{family(f), 0, 0, 0}, f[14:]...) }},
	{pcapfilter.LinkLoop, "LOOP", func(f []byte) []byte { return append([]byte{0, 0, 0, family(f)}, f[14:]...) }},
	{pcapfilter.LinkLinuxSLL, "LINUX_SLL", func(f []byte) []byte {
		head := []byte{0, f[0] & 7, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, f[12], f[13]}
		return append(head, f[14:]...)
	}},
	{pcapfilter.LinkLinuxSLL2, "LINUX_SLL2", func(f []byte) []byte {
		head := []byte{f[12], f[13], 0, 0, 0, 0, 0, f[5], 0, 1, f[0] & 7, 6, 2, 0, 0, 0, 0, 1, 0, 0}
		return append(head, f[14:]...)
	}},
}

// family is the address family of a frame in BSD loopback headers, by Linux's numbers.
func family(frame []byte) byte {
	switch {
	case frame[12] == 0x08 && frame[13] == 0:
		return 2
	case frame[12] == 0x86 && frame[13] == 0xdd:
		return 10
	}
	return 7
}

// sample is a packet as we are asked about it and as libpcap is.
type sample struct {
	name   string
	ours   pcapfilter.Packet
	theirs []byte
	length int
	beside filtertest.Beside
}

// samples are the corpus in both directions, made of frames by ours, and by theirs for libpcap.
func samples(ours func(frame []byte) pcapfilter.Packet, theirs func(frame []byte, out byte) []byte) []sample {
	const received, sent, ifindex = 0, 4, 3
	var out []sample
	for _, p := range filtertest.Packets() {
		for d, kind := range map[pcapfilter.Direction]uint32{pcapfilter.Inbound: received, pcapfilter.Outbound: sent} {
			pkt := ours(p.Data)
			pkt.Direction, pkt.Interface = d, ifindex
			out = append(out, sample{p.Name, pkt, theirs(p.Data, byte(kind)), pkt.Length, filtertest.Beside{PacketType: kind, Interface: ifindex}})
		}
	}
	return out
}

// inFiles are the samples as packets of a link type that files have: the same bytes for both.
func inFiles(from func(frame []byte) []byte) []sample {
	return samples(func(f []byte) pcapfilter.Packet {
		data := from(f)
		return pcapfilter.Packet{Data: data, Length: len(data)}
	}, func(f []byte, _ byte) []byte { return from(f) })
}

func TestMatcherAgreesWithLibpcapOnEveryPacket(t *testing.T) {
	needOracle(t)
	for i, l := range links {
		t.Run(l.name, func(t *testing.T) {
			packets := inFiles(l.from)
			compared, differ := 0, 0
			for j, expr := range filtertest.Expressions() {
				if l.link != pcapfilter.LinkEthernet && j%len(links) != i {
					continue // what differs between links are the first tests of a program
				}
				p, o, ours, theirs := compileBoth(t, l.link, l.name, expr)
				if (ours == nil) != (theirs == nil) {
					t.Errorf("%q: we say %v, libpcap says %v", expr, ours, theirs)
				}
				if ours == nil && theirs == nil {
					compared++
					differ += agree(t, p, o, l.name, expr, packets)
				}
			}
			t.Logf("%d expressions, %d packets, %d verdicts on which libpcap's optimizer has a say", compared, len(packets), differ)
		})
	}
}

// compileBoth compiles with us and with libpcap, and returns what either has against it.
func compileBoth(t *testing.T, link pcapfilter.LinkType, name, expr string) (p *pcapfilter.Program, o filtertest.Oracle, ours, theirs error) {
	t.Helper()
	e, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	p, ours = e.Compile(link)
	o, theirs = filtertest.Compile(name, expr, true)
	return p, o, ours, theirs
}

func TestExtensionsMeanWhatTheirLibpcapFormSays(t *testing.T) {
	needOracle(t)
	packets := inFiles(func(f []byte) []byte { return f })
	for _, e := range filtertest.Extensions() {
		o, err := filtertest.Compile("EN10MB", e.Libpcap, true)
		if err != nil {
			t.Fatalf("%q: %v", e.Libpcap, err)
		}
		agree(t, compile(t, pcapfilter.LinkEthernet, e.Ours), o, "EN10MB", e.Libpcap, packets)
	}
}

// TestNetworkPacketsAgreeWithCookedCaptures: a packet without link header is to us what it is to libpcap in a cooked
// capture, whose header says what travels beside the packet here.
func TestNetworkPacketsAgreeWithCookedCaptures(t *testing.T) {
	needOracle(t)
	packets := samples(func(f []byte) pcapfilter.Packet {
		return pcapfilter.Packet{Data: f[14:], Length: len(f) - 14, Protocol: binary.BigEndian.Uint16(f[12:])}
	}, func(f []byte, out byte) []byte {
		return append([]byte{0, out, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, f[12:]...)
	})
	compared := 0
	for _, expr := range filtertest.Expressions() {
		if strings.HasPrefix(expr, "ip[0 - 1]") {
			continue // before the IP header there is nothing here, and a byte there
		}
		p, o, ours, theirs := compileBoth(t, pcapfilter.LinkNetwork, "LINUX_SLL", expr)
		if ours == nil && theirs == nil { // only one of the two has tags, and only the other one a header
			compared++
			agree(t, p, o, "LINUX_SLL", expr, packets)
		}
	}
	t.Logf("%d expressions, %d packets", compared, len(packets))
}

// agree compares verdicts. On some truncated packets, and where an offset wraps below 0, libpcap's verdict depends on
// its optimizer, which moves tests about; there ours is that of the program as it is written. It returns
// how many those were.
func agree(t *testing.T, p *pcapfilter.Program, o filtertest.Oracle, link, expr string, packets []sample) (differ int) {
	t.Helper()
	var plain filtertest.Oracle
	for _, s := range packets {
		got := p.Match(s.ours)
		if got == o.Match(s.theirs, s.length, s.beside) {
			continue
		}
		if plain == nil {
			var err error
			if plain, err = filtertest.Compile(link, expr, false); err != nil {
				t.Fatalf("%q: %v", expr, err)
			}
		}
		unsure := strings.Contains(s.name, " cut to ") || strings.HasPrefix(s.name, "header ")
		if !unsure || got != plain.Match(s.theirs, s.length, s.beside) {
			t.Errorf("%q on %s, direction %d: got %v, libpcap says %v", expr, s.name, s.ours.Direction, got, !got)
			return differ
		}
		differ++
	}
	return differ
}
