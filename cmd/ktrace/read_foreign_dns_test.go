// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/packet/packettest"
)

// dnsSaid is what the dns view says of a capture: every query with its outcome, and the findings with how sure they are.
func dnsSaid(t *testing.T, packets []sent, args ...string) string {
	t.Helper()
	var said []string
	file := foreignCapture(t, packets)
	for line := range strings.Lines(ktraceRead(t, append([]string{file, "dns", "-o", "json"}, args...)...)) {
		var l struct {
			Type, ID, Confidence string
			DNS                  struct{ Outcome, Rcode string }
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		switch l.Type {
		case "event":
			said = append(said, l.DNS.Outcome)
		case "finding":
			t.Log(line)
			said = append(said, l.ID+" "+l.Confidence)
		}
	}
	return strings.Join(said, ", ")
}

// dnsForeignEnds are a client and a server of each family.
func dnsForeignEnds() map[string][3]string {
	return map[string][3]string{
		"IPv4": {"10.244.1.2", "10.96.0.10", "224.0.0.251"},
		"IPv6": {"fd00:244::2", "fd00:96::10", "ff02::fb"},
	}
}

func TestCapturesOfOtherProtocolsHaveNoDNS(t *testing.T) {
	t.Parallel()
	query := message(7, 0x0100, 0)
	stun := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	gtp := append([]byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 20)...)
	bootp := append([]byte{1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0}, make([]byte, 240)...)
	netbios := append(append([]byte{0x12, 0x34, 0x01, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 32}, strings.Repeat("CA", 16)...), 0, 0, 32, 0, 1)
	for family, ends := range dnsForeignEnds() {
		from := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ends[0]), port) }
		to := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ends[1]), port) }
		group := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ends[2]), port) }
		for name, frame := range map[string][]byte{
			"DHCP":                             udpFrame(from(68), to(67), bootp),
			"mDNS":                             udpFrame(from(5353), group(5353), message(0, 0, 0)),
			"mDNS of a simple resolver":        udpFrame(from(40000), group(5353), query),
			"mDNS to one machine":              udpFrame(from(5353), to(5353), query),
			"LLMNR":                            udpFrame(from(40000), group(5355), query),
			"NetBIOS":                          udpFrame(from(137), to(137), netbios),
			"GTP":                              udpFrame(from(2123), to(2123), gtp),
			"STUN":                             udpFrame(from(50000), to(3478), stun),
			"a query by its form alone":        udpFrame(from(40000), to(9000), query),
			"a query to a group":               udpFrame(from(40000), group(53), query),
			"a query to the link's broadcast":  toMAC(udpFrame(from(40000), to(53), query), 0xff),
			"what is no query, to port 53":     udpFrame(from(40000), to(53), stun),
			"an answer without a query":        udpFrame(to(53), from(40000), message(7, 0x8180, 1)),
			"a query with the mark of answers": udpFrame(from(40000), to(9000), message(7, 0x0180, 0)),
		} {
			t.Run(family+" "+name, func(t *testing.T) {
				packets := []sent{{0, frame}, {5 * time.Second, frame}, {10 * time.Second, frame}, timeGoesBy(30 * time.Second)}
				if got := dnsSaid(t, packets); got != "" {
					t.Errorf("said %q", got)
				}
			})
		}
	}
}

// thrice is packets as they are where several ports, or devices that are not distinguished, are captured.
func thrice(packets ...sent) (all []sent) {
	for _, p := range packets {
		for i := range 3 {
			all = append(all, sent{p.at + time.Duration(i)*20*time.Microsecond, p.frame})
		}
	}
	return all
}

// TestCapturesShowDNSByWhatIsSeen: at other ports a query is known by its answer, and that none came is claimed only
// where it would be in the capture.
func TestCapturesShowDNSByWhatIsSeen(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for family, ends := range dnsForeignEnds() {
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		ask := func(at time.Duration, id, port uint16) sent {
			return sent{at, udpFrame(netip.AddrPortFrom(client, 40000+id), netip.AddrPortFrom(server, port), message(int(id), 0x0100, 0))}
		}
		answer := func(at time.Duration, id, port uint16) sent {
			return sent{at, udpFrame(netip.AddrPortFrom(server, port), netip.AddrPortFrom(client, 40000+id), message(int(id), 0x8180, 1))}
		}
		fragment := func(at time.Duration, id uint16) sent {
			long := append(message(int(id), 0x8180, 1), make([]byte, 2*fits)...)
			return sent{at, packettest.Frame(firstFragment(netip.AddrPortFrom(server, 53), netip.AddrPortFrom(client, 40000+id), long))}
		}
		elsewhere := func(at time.Duration, id uint16) sent {
			return sent{at, udpFrame(netip.AddrPortFrom(server.Next(), 53), netip.AddrPortFrom(client, 40000+id), message(int(id), 0x8180, 1))}
		}
		end := timeGoesBy(30 * s)
		for _, c := range []struct {
			name, want string
			packets    []sent
			args       []string
		}{
			{"answered at another port", "answered", []sent{ask(0, 1, 5353), answer(s/10, 1, 5353), end}, nil},
			{"no answer at another port, which answered before", "answered, no-response, dns-no-response likely",
				[]sent{ask(0, 1, 5353), answer(s/10, 1, 5353), ask(2*s, 2, 5353), end}, nil},
			{"no answer at another port that the user names", "no-response, dns-no-response likely, no-response",
				[]sent{ask(0, 1, 9953), ask(5*s, 1, 9953), end}, []string{"--port", "9953"}},
			{"no answer, and other answers of the server", "answered, no-response, dns-no-response likely",
				[]sent{ask(0, 1, 53), answer(s/10, 1, 53), ask(2*s, 2, 53), end}, nil},
			{"no answer, and the client asks again", "no-response, dns-no-response likely, no-response",
				[]sent{ask(0, 1, 53), ask(5*s, 1, 53), end}, nil},
			{"only what is sent to the server", "no-response, no-response", []sent{ask(0, 1, 53), ask(2*s, 2, 53), end}, nil},
			{"only what is sent to the server, of a client that talks to others", "no-response", []sent{ask(0, 1, 53),
				{s, udpFrame(netip.MustParseAddrPort(map[string]string{"IPv4": "192.0.2.9:99", "IPv6": "[2001:db8::9]:99"}[family]), netip.AddrPortFrom(client, 99), nil)}, end}, nil},
			{"the first fragment, of a capture of ports", "answered", []sent{ask(0, 1, 53), fragment(s/10, 1), end}, nil},
			{"the first fragment, and the client asks again", "no-response, dns-no-response likely, no-response",
				[]sent{ask(0, 1, 53), fragment(s/10, 1), ask(5*s, 1, 53), end}, nil},
			{"an answer from another address", "no-response, service-reply-not-untranslated likely", []sent{ask(0, 1, 53), elsewhere(s/10, 1), end}, nil},
			{"an answer from another address, and one from the server", "answered", []sent{ask(0, 1, 53), elsewhere(s/100, 1), answer(s/50, 1, 53), end}, nil},
			{"answered, each packet three times, as a mirror has it", "answered", thrice(ask(0, 1, 53), answer(s/10, 1, 53), end), nil},
			{"only what is sent to the server, three times each", "no-response, no-response", thrice(ask(0, 1, 53), ask(2*s, 2, 53), end), nil},
			{"no answer, and the client asks again, three times each", "no-response, dns-no-response likely, no-response",
				thrice(ask(0, 1, 53), ask(5*s, 1, 53), end), nil},
			{"the capture ends first", "", []sent{ask(0, 1, 53), timeGoesBy(3 * s)}, nil},
		} {
			t.Run(fmt.Sprintf("%s %s", family, c.name), func(t *testing.T) {
				if got := dnsSaid(t, c.packets, c.args...); got != c.want {
					t.Errorf("said %q, want %q", got, c.want)
				}
			})
		}
	}
}
