package filter_test

import (
	"testing"

	"ktrace/decoder/filter"
	"ktrace/decoder/filter/filtertest"
)

// needOracle skips where there is no tcpdump to compare with; CI has one.
func needOracle(t *testing.T) {
	t.Helper()
	if !filtertest.Available() {
		t.Skip("tcpdump is not installed: there is no libpcap to compare with")
	}
}

func compile(t *testing.T, link filter.LinkType, expr string) *filter.Program {
	t.Helper()
	e, err := filter.Parse(expr)
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
	link filter.LinkType
	name string
	// from makes a packet of this link type of an Ethernet frame.
	from func(frame []byte) []byte
}{
	{filter.LinkEthernet, "EN10MB", func(f []byte) []byte { return f }},
	{filter.LinkRaw, "RAW", func(f []byte) []byte { return f[14:] }},
	{filter.LinkIPv4, "IPV4", func(f []byte) []byte { return f[14:] }},
	{filter.LinkIPv6, "IPV6", func(f []byte) []byte { return f[14:] }},
	{filter.LinkNull, "NULL", func(f []byte) []byte { return append([]byte{family(f), 0, 0, 0}, f[14:]...) }},
	{filter.LinkLoop, "LOOP", func(f []byte) []byte { return append([]byte{0, 0, 0, family(f)}, f[14:]...) }},
	{filter.LinkLinuxSLL, "LINUX_SLL", func(f []byte) []byte {
		head := []byte{0, f[0] & 7, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, f[12], f[13]}
		return append(head, f[14:]...)
	}},
	{filter.LinkLinuxSLL2, "LINUX_SLL2", func(f []byte) []byte {
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

func TestMatcherAgreesWithLibpcapOnEveryPacket(t *testing.T) {
	needOracle(t)
	for i, l := range links {
		t.Run(l.name, func(t *testing.T) {
			var packets []filtertest.Packet
			for _, p := range filtertest.Packets() {
				packets = append(packets, filtertest.Packet{Name: p.Name, Data: l.from(p.Data)})
			}
			compared := 0
			for j, expr := range filtertest.Expressions() {
				if l.link != filter.LinkEthernet && j%len(links) != i {
					continue // what differs between links are the first tests of a program
				}
				if compareOn(t, l.link, l.name, expr, packets) {
					compared++
				}
			}
			t.Logf("%d expressions, %d packets", compared, len(packets))
		})
	}
}

// compareOn compiles with us and with libpcap, fails if only one of us refuses, and compares verdicts.
func compareOn(t *testing.T, link filter.LinkType, name, expr string, packets []filtertest.Packet) bool {
	t.Helper()
	e, err := filter.Parse(expr)
	if err != nil {
		t.Errorf("%q: %v", expr, err)
		return false
	}
	p, ours := e.Compile(link)
	o, theirs := filtertest.Compile(name, expr, true)
	switch {
	case (ours == nil) != (theirs == nil):
		t.Errorf("%q: we say %v, libpcap says %v", expr, ours, theirs)
		return false
	case ours != nil:
		return false
	}
	agree(t, p, o, name, expr, packets)
	return true
}

func TestExtensionsMeanWhatTheirLibpcapFormSays(t *testing.T) {
	needOracle(t)
	for _, e := range filtertest.Extensions() {
		o, err := filtertest.Compile("EN10MB", e.Libpcap, true)
		if err != nil {
			t.Fatalf("%q: %v", e.Libpcap, err)
		}
		agree(t, compile(t, filter.LinkEthernet, e.Ours), o, "EN10MB", e.Libpcap, filtertest.Packets())
	}
}

// agree compares verdicts. On some truncated packets libpcap's verdict depends on its optimizer, which moves
// tests about; there ours is that of the program as it is written.
func agree(t *testing.T, p *filter.Program, o filtertest.Oracle, link, expr string, packets []filtertest.Packet) {
	t.Helper()
	var plain filtertest.Oracle
	for _, pkt := range packets {
		for _, d := range []filter.Direction{filter.Inbound, filter.Outbound} {
			beside := filtertest.Beside{PacketType: uint32(d-filter.Inbound) * 4, Interface: 3}
			got := p.Match(filter.Packet{Data: pkt.Data, Length: len(pkt.Data), Direction: d, Interface: 3})
			if got == o.Match(pkt.Data, len(pkt.Data), beside) {
				continue
			}
			if plain == nil {
				var err error
				if plain, err = filtertest.Compile(link, expr, false); err != nil {
					t.Fatalf("%q: %v", expr, err)
				}
			}
			if got != plain.Match(pkt.Data, len(pkt.Data), beside) {
				t.Errorf("%q on %s, direction %d: got %v, libpcap says %v", expr, pkt.Name, d, got, !got)
				return
			}
		}
	}
}
