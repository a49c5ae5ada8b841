// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/packet/packettest"
)

// tcpTalk makes the frames of a TCP connection, of either family.
type tcpTalk struct {
	client, server netip.AddrPort
	up, down       uint32
	at             time.Duration
	seen           []sent
}

func (k *tcpTalk) frame(up bool, flags byte, seq uint32, data []byte) []byte {
	src, dst := k.client, k.server
	if !up {
		src, dst = dst, src
	}
	return tcpFrame(src, dst, seq, flags, data)
}

func (k *tcpTalk) add(up bool, flags byte, data []byte) *tcpTalk {
	seq := &k.down
	if up {
		seq = &k.up
	}
	k.seen = append(k.seen, sent{k.at, k.frame(up, flags, *seq, data)})
	k.at += time.Millisecond
	if *seq += uint32(len(data)); flags&(packettest.SYN|packettest.FIN) != 0 {
		*seq++
	}
	return k
}

func (k *tcpTalk) opens() *tcpTalk {
	return k.add(true, packettest.SYN, nil).add(false, packettest.SYN|packettest.ACK, nil).add(true, packettest.ACK, nil)
}

// later is something unrelated.
func (k *tcpTalk) later(d time.Duration) *tcpTalk {
	k.at += d
	k.seen = append(k.seen, timeGoesBy(k.at))
	return k
}

// tcpQueries and tcpAnswers are messages of these ids, as they go over TCP.
func tcpQueries(ids ...int) []byte { return tcpMessages(0x0100, 0, ids) }

func tcpAnswers(ids ...int) []byte { return tcpMessages(0x8180, 1, ids) }

func tcpMessages(flags uint16, answers int, ids []int) []byte {
	var all [][]byte
	for _, id := range ids {
		all = append(all, message(id, flags, answers))
	}
	return framed(all...)
}

// tcpCase is a connection, and what is to be said of it.
type tcpCase struct {
	name string
	talk func(k *tcpTalk)
	want string
}

// saidOfTCP checks what is said of captures with a connection, over both families.
func saidOfTCP(t *testing.T, cases []tcpCase) {
	t.Helper()
	for family, ends := range dnsForeignEnds() {
		client, server := netip.AddrPortFrom(netip.MustParseAddr(ends[0]), 40001), netip.AddrPortFrom(netip.MustParseAddr(ends[1]), 53)
		for _, c := range cases {
			t.Run(family+" "+c.name, func(t *testing.T) {
				k := &tcpTalk{client: client, server: server, up: 1<<32 - 3, down: 7}
				c.talk(k)
				if got := dnsSaid(t, k.seen); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		}
	}
}

func TestCapturesHaveDNSOverTCP(t *testing.T) {
	t.Parallel()
	saidOfTCP(t, []tcpCase{
		{"one query", func(k *tcpTalk) {
			k.opens().add(true, packettest.ACK, tcpQueries(1)).add(false, packettest.ACK, tcpAnswers(1))
		}, "answered"},
		{"pipelined, in the wrong order, twice, split", func(k *tcpTalk) {
			k.opens()
			from := len(k.seen)
			for part := range slices.Chunk(tcpQueries(1, 2, 3), 11) {
				k.add(true, packettest.ACK, part)
			}
			slices.Reverse(k.seen[from:])
			k.seen = append(k.seen, k.seen[from:]...)
			for i := range k.seen[from:] {
				k.at += 100 * time.Microsecond
				k.seen[from+i].at = k.at
			}
			k.add(false, packettest.ACK, tcpAnswers(3)).add(false, packettest.ACK, tcpAnswers(1, 2))
		}, "answered, answered, answered"},
		{"the beginning is not in it", func(k *tcpTalk) { k.add(true, packettest.ACK, tcpQueries(1)).add(false, packettest.ACK, tcpAnswers(1)) }, "answered"},
		{"closed idle", func(k *tcpTalk) {
			k.opens().add(true, packettest.ACK, tcpQueries(1)).add(false, packettest.ACK, tcpAnswers(1)).later(12*time.Second).add(false, packettest.FIN|packettest.ACK, nil).add(true, packettest.FIN|packettest.ACK, nil)
		}, "answered"},
	})
}

func TestCapturesShowWhyThereWasNoAnswerOverTCP(t *testing.T) {
	t.Parallel()
	saidOfTCP(t, []tcpCase{
		{"never answered", func(k *tcpTalk) { k.opens().add(true, packettest.ACK, tcpQueries(1)).later(8 * time.Second) }, "no-response, dns-no-response likely"},
		{"closed without an answer", func(k *tcpTalk) {
			k.opens().add(true, packettest.ACK, tcpQueries(1)).add(false, packettest.FIN|packettest.ACK, nil).later(8 * time.Second)
		},
			"no-response, dns-no-response certain"},
		{"refused, as to a scan", func(k *tcpTalk) {
			k.add(true, packettest.SYN, nil).add(false, packettest.RST|packettest.ACK, nil).later(8 * time.Second)
		}, "rejected"},
		{"refused, again and again", func(k *tcpTalk) {
			for range 2 {
				k.add(true, packettest.SYN, nil).add(false, packettest.RST|packettest.ACK, nil).later(time.Second)
				k.client = netip.AddrPortFrom(k.client.Addr(), k.client.Port()+1)
			}
			k.later(8 * time.Second)
		}, "rejected, rejected, dns-server-refused likely"},
		{"the SYN is not answered", func(k *tcpTalk) {
			k.add(true, packettest.SYN, nil).later(time.Second)
			k.up--
			k.add(true, packettest.SYN, nil).later(8 * time.Second)
		}, "no-response, dns-no-response likely"},
	})
}

func TestCapturesClaimNothingThatTheyDoNotShowOfTCP(t *testing.T) {
	t.Parallel()
	saidOfTCP(t, []tcpCase{
		{"one direction only", func(k *tcpTalk) {
			k.add(true, packettest.SYN, nil).add(true, packettest.ACK, tcpQueries(1)).later(8 * time.Second)
		}, "no-response"},
		{"the client goes at once", func(k *tcpTalk) {
			k.opens().add(true, packettest.ACK, tcpQueries(1)).add(true, packettest.FIN|packettest.ACK, nil).add(false, packettest.FIN|packettest.ACK, nil).later(8 * time.Second)
		}, "no-response"},
		{"no DNS at the port", func(k *tcpTalk) {
			k.opens().add(true, packettest.ACK, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")).add(false, packettest.ACK, []byte("HTTP/1.1 200 OK\r\n\r\n")).later(8 * time.Second)
		}, ""},
		{"a check that the port is open", func(k *tcpTalk) { k.opens().add(true, packettest.FIN|packettest.ACK, nil).later(8 * time.Second) }, ""},
		{"another port", func(k *tcpTalk) {
			k.server = netip.AddrPortFrom(k.server.Addr(), 8080)
			k.opens().add(true, packettest.ACK, tcpQueries(1)).later(8 * time.Second)
		}, ""},
	})
}

// TestCapturesShowThatACutAnswerWasHadOverTCP: the one lookup of two queries went well.
func TestCapturesShowThatACutAnswerWasHadOverTCP(t *testing.T) {
	t.Parallel()
	client, server := netip.MustParseAddrPort("10.244.1.2:40001"), netip.MustParseAddrPort("10.96.0.10:53")
	for name, c := range map[string]struct {
		talk func(k *tcpTalk)
		want string
	}{
		"answered": {func(k *tcpTalk) {
			k.opens().add(true, packettest.ACK, framed(message(8, 0x0100, 0))).add(false, packettest.ACK, framed(message(8, 0x8180, 1)))
		}, "truncated, answered"},
		"refused":   {func(k *tcpTalk) { k.add(true, packettest.SYN, nil).add(false, packettest.RST|packettest.ACK, nil) }, "truncated, dns-truncated certain, rejected"},
		"not asked": {func(k *tcpTalk) {}, "truncated, dns-truncated likely"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &tcpTalk{client: client, server: server, up: 5, down: 7, at: 2 * time.Millisecond}
			c.talk(k)
			other := &tcpTalk{client: netip.MustParseAddrPort("10.244.1.3:40001"), server: foreignServer, at: k.at} // the capture has TCP
			other.opens()
			other.later(8 * time.Second)
			udp := []sent{{0, udpFrame(client, server, message(7, 0x0100, 0))}, {time.Millisecond, udpFrame(server, client, message(7, 0x8380, 0))}}
			got := strings.Split(dnsSaid(t, slices.Concat(udp, k.seen, other.seen)), ", ")
			want := strings.Split(c.want, ", ")
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestAScanOfTheServersPortIsNoFailure: of who connects to address after address no server is wanted.
func TestAScanOfTheServersPortIsNoFailure(t *testing.T) {
	t.Parallel()
	var all []sent
	for i := range 40 {
		k := &tcpTalk{client: netip.AddrPortFrom(foreignClient.Addr(), uint16(40000+i)), server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 53), at: time.Duration(10*i) * time.Millisecond}
		k.add(true, packettest.SYN, nil)
		if i%2 == 0 {
			k.add(false, packettest.RST|packettest.ACK, nil)
		}
		all = append(all, k.seen...)
	}
	all = append(all, timeGoesBy(9*time.Second))
	if n := strings.Count(dnsSaid(t, all), "dns-"); n > 3 {
		t.Errorf("%d findings", n)
	}
}
