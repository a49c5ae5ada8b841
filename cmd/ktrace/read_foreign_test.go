// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/packet/packettest"
)

// sent is a frame of a capture, and when it was seen.
type sent struct {
	at    time.Duration
	frame []byte
}

// foreignCapture is a capture as tcpdump writes it, which says of no packet which way it went.
func foreignCapture(t testing.TB, packets []sent) string {
	t.Helper()
	little := binary.LittleEndian
	b := []byte{0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0} // nanoseconds, Ethernet
	for _, p := range packets {
		b = little.AppendUint32(little.AppendUint32(b, uint32(1_700_000_000+p.at/time.Second)), uint32(p.at%time.Second))
		b = little.AppendUint32(little.AppendUint32(b, uint32(len(p.frame))), uint32(len(p.frame)))
		b = append(b, p.frame...)
	}
	file := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// The ends of what is captured.
var (
	foreignClient = netip.MustParseAddrPort("10.244.1.2:40001")
	foreignServer = netip.MustParseAddrPort("192.0.2.80:8080")
	foreignDNS    = netip.MustParseAddrPort("10.96.0.10:53")
	foreignRouter = netip.MustParseAddr("198.51.100.1")
)

// rcode is a DNS answer of a code, without records.
func rcode(id int, code uint16) []byte { return message(id, 0x8180|code, 0) }

// timeGoesBy is something unrelated, so that time goes by.
func timeGoesBy(at time.Duration) sent {
	return sent{at, greFrame(foreignClient.Addr(), foreignRouter, 77)}
}

// conversation is a TCP connection that the client opens, up to and with its first data. The server's packets have
// come 7 hops.
func conversation() []sent {
	c, s := foreignClient, foreignServer
	return []sent{
		{0, tcpFrame(c, s, 100, packettest.SYN, nil)},
		{time.Millisecond, withTTL(tcpFrame(s, c, 0, packettest.SYN|packettest.ACK, nil), 57)},
		{2 * time.Millisecond, tcpFrame(c, s, 101, packettest.ACK, nil)},
		{3 * time.Millisecond, tcpFrame(c, s, 101, packettest.PSH|packettest.ACK, filler(100))},
	}
}

// foreignCases are captures and what packets alone prove of them: "" for nothing.
func foreignCases() []struct {
	name, want string
	packets    []sent
} {
	c, s := foreignClient, foreignServer
	ask := udpFrame(c, foreignDNS, message(7, 0x0100, 0))
	answer := func(payload []byte) []sent {
		return []sent{{0, ask}, {time.Millisecond, udpFrame(foreignDNS, c, payload)}, timeGoesBy(20 * time.Second)}
	}
	large := tcpFrame(c, s, 201, packettest.PSH|packettest.ACK, filler(1446))
	icmpError := func(kind, code byte, rest uint32, ttl byte) []sent {
		about := withTTL(tcpFrame(c, s, 201, packettest.PSH|packettest.ACK, filler(1446)), ttl)
		return []sent{{0, about}, {time.Millisecond, icmpFrame(foreignRouter, kind, code, rest, about)}, timeGoesBy(20 * time.Second)}
	}
	var refusals []sent
	for i := range 3 {
		at, from := time.Duration(i)*time.Second, netip.AddrPortFrom(c.Addr(), c.Port()+uint16(i))
		refusals = append(refusals, sent{at, tcpFrame(from, s, 100, packettest.SYN, nil)}, sent{at + time.Millisecond, withTTL(tcpFrame(s, from, 0, packettest.RST|packettest.ACK, nil), 57)})
	}
	search := udpFrame(c, foreignDNS, messageAbout("web.default.svc.cluster.local", 6, 0x0100, 0))
	return []struct {
		name, want string
		packets    []sent
	}{
		{"a query and its answer", "", answer(message(7, 0x8180, 1))},
		{"no answer", "dns-no-response", []sent{{0, ask}, {5 * time.Second, ask}, {10 * time.Second, ask}, timeGoesBy(20 * time.Second)}},
		{"SERVFAIL", "dns-servfail", answer(rcode(7, 2))},
		{"REFUSED", "dns-refused", answer(rcode(7, 5))},
		{"NXDOMAIN", "dns-nxdomain", answer(rcode(7, 3))},
		{"nothing listens for queries", "dns-server-refused", []sent{{0, ask}, {time.Millisecond, icmpFrame(foreignDNS.Addr(), 3, 3, 0, ask)}, timeGoesBy(20 * time.Second)}},
		{"a conversation", "", append(conversation(), sent{4 * time.Millisecond, withTTL(tcpFrame(s, c, 1, packettest.PSH|packettest.ACK, filler(100)), 57)}, timeGoesBy(20*time.Second))},
		{"found under another search domain", "", append([]sent{{0, search}, {time.Millisecond, udpFrame(foreignDNS, c, messageAbout("web.default.svc.cluster.local", 6, 0x8183, 0))}},
			sent{2 * time.Millisecond, ask}, sent{3 * time.Millisecond, udpFrame(foreignDNS, c, message(7, 0x8180, 1))}, timeGoesBy(20*time.Second))},
		{"nothing listens", "connection-refused", append(refusals, timeGoesBy(20*time.Second))},
		{"one restart", "info connection-refused", append(refusals[:2:2], timeGoesBy(20*time.Second))},
		{"a middle box", "reset-by-middlebox", append(conversation(), sent{4 * time.Millisecond, withTTL(tcpFrame(s, c, 1, packettest.RST|packettest.ACK, nil), 200)}, timeGoesBy(20*time.Second))},
		{"too big", "info mtu-exceeded", append(conversation(), sent{5 * time.Millisecond, large}, sent{6 * time.Millisecond, icmpFrame(foreignRouter, 3, 4, 1300, large)}, timeGoesBy(20*time.Second))},
		{"a loop", "ttl-exceeded", icmpError(11, 0, 0, 64)},
		{"traceroute", "", icmpError(11, 0, 0, 3)},
		{"no route", "no-route", icmpError(3, 0, 0, 64)},
		{"nobody has the address", "neighbour-failed", icmpError(3, 1, 0, 64)},
		{"a firewall", "netfilter-reject", icmpError(3, 13, 0, 64)},
		{"a server of another protocol", "tls-alert", tlsCapture(&tls.Config{NextProtos: []string{"smtp"}}, &tls.Config{NextProtos: []string{"h2"}}, foreignCertificate(0, 0))},
		{"a server that suits", "", tlsCapture(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, &tls.Config{}, foreignCertificate(-time.Hour, -time.Minute))},
		{"an expired certificate", "tls-certificate-expired", tlsCapture(&tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{}, foreignCertificate(-time.Hour, -time.Minute))},
		{"a certificate of tomorrow", "tls-certificate-not-yet-valid", tlsCapture(&tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{}, foreignCertificate(time.Hour, 2*time.Hour))},
		{"a certificate of nobody", "tls-unknown-authority", tlsCapture(&tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{}, foreignCertificate(-time.Hour, time.Hour))},
		{"a certificate for another name", "tls-name-mismatch", tlsCapture(&tls.Config{MaxVersion: tls.VersionTLS12, ServerName: "api.example.org"}, &tls.Config{}, foreignCertificate(-time.Hour, time.Hour))},
	}
}

func TestPacketsAloneProveWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, f := range foreignCases() {
		t.Run(f.name, func(t *testing.T) {
			file := foreignCapture(t, f.packets)
			var found []string
			for line := range strings.Lines(ktraceRead(t, file, "diagnose", "-o", "json")) {
				var l struct{ Type, ID, Severity string }
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatal(err)
				}
				if l.Type == "finding" {
					t.Log(line)
					found = append(found, strings.TrimPrefix("info "+l.ID, map[bool]string{l.Severity != "info": "info "}[true]))
				}
			}
			if got := strings.Join(found, " "); got != f.want {
				t.Errorf("found %q, want %q", got, f.want)
			}
		})
	}
}
