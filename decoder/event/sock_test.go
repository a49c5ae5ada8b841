// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/wire"
	"ktrace/decoder/wire/wiretest"
)

// tuple packs one direction of a flow as the kernel half does.
func tuple(src, dst string, proto, family uint8) wire.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return wire.Tuple{Src: s.Addr().As16(), Sport: s.Port(), Dst: d.Addr().As16(), Dport: d.Port(), Proto: proto, Family: family}
}

func sockHeader(pid uint32) wire.Header {
	return wire.Header{Size: uint32((*wire.Sock)(nil).RecordSize()), Kind: uint16(wire.KindSock), Pid: pid, Netns: 7}
}

// sockCase is a record and what it is decoded to.
type sockCase struct {
	name   string
	record wire.Sock
	packet string // of the event
	flags  string
	check  func(Sock) bool
}

// The ends of the connections that sockets report on.
const sockClient, sockServer = "10.0.0.1:40000", "10.0.0.2:80"

func TestDecodeResetsOfSockets(t *testing.T) {
	testDecodeSock(t, []sockCase{
		{
			name: "a reset answers a SYN where nothing listens",
			record: wire.Sock{
				Op: uint32(wire.SockResetSent), Reason: 1, HasReason: 1,
				Packet: tuple(sockClient, sockServer, 6, 4), TcpFlags: 0x02, Ttl: 63, Len: 60, Count: 1,
			},
			packet: "10.0.0.2:80 > 10.0.0.1:40000", flags: "R",
			check: func(s Sock) bool {
				return s.Trigger.Flags == "S" && s.Trigger.TTL == 63 && s.Trigger.Len == 60 && s.State == "" && !s.Local.IsValid()
			},
		},
		{
			name: "a killed process resets what it left unread",
			record: wire.Sock{
				Op: uint32(wire.SockResetSent), Reason: 11, HasReason: 1, Closing: 1, Exiting: 1, Sigcode: 9,
				Sock: tuple(sockServer, sockClient, 6, 4), State: 1, Unread: 23, BytesReceived: 23, Idle: uint64(time.Second), Count: 1,
			},
			packet: "10.0.0.2:80 > 10.0.0.1:40000", flags: "R",
			check: func(s Sock) bool {
				return s.Trigger == nil && s.Closing && s.Exiting && s.Signal == 9 && s.State == "ESTABLISHED" &&
					s.Unread == 23 && s.Idle == time.Second
			},
		},
		{
			name: "a reset received by an IPv6 socket that serves IPv4 goes from its peer to it",
			record: wire.Sock{
				Op: uint32(wire.SockResetReceived), Sock: tuple("[::ffff:10.0.0.1]:40000", "[::ffff:10.0.0.2]:80", 6, 6), State: 2, Count: 1,
			},
			packet: "10.0.0.2:80 > 10.0.0.1:40000", flags: "R",
			check: func(s Sock) bool {
				return s.Local == netip.MustParseAddrPort(sockClient) && s.Remote == netip.MustParseAddrPort(sockServer) && s.State == "SYN_SENT"
			},
		},
	})
}

func TestDecodeOtherReportsOfSockets(t *testing.T) {
	testDecodeSock(t, []sockCase{
		{
			name:   "an error report",
			record: wire.Sock{Op: uint32(wire.SockError), Error: 110, Sock: tuple("[fd00::1]:40000", "[fd00::2]:80", 6, 6), State: 13, Count: 1},
			packet: "[fd00::1]:40000 > [fd00::2]:80",
			check:  func(s Sock) bool { return s.Error == "ETIMEDOUT" && s.State == "unknown(0xd)" },
		},
		{
			name: "a full receive buffer of UDP",
			record: wire.Sock{
				Op: uint32(wire.SockBufferFull), Sock: tuple("10.0.0.2:53", "0.0.0.0:0", 17, 4), State: 7, Rmem: 213000, Rcvbuf: 212992, Count: 41,
			},
			packet: "0.0.0.0 > 10.0.0.2:53",
			check: func(s Sock) bool {
				return s.Proto == "udp" && s.Queued == 213000 && s.Buffer == 212992 && s.Count == 41
			},
		},
		{
			name:   "an ICMP error in answer to a packet",
			record: wire.Sock{Op: uint32(wire.SockIcmpSent), Reason: 3<<8 | 13, Packet: tuple(sockClient, sockServer, 6, 4), TcpFlags: 0x02, Count: 1},
			packet: "10.0.0.1:40000 > 10.0.0.2:80", flags: "S",
			check: func(s Sock) bool { return s.ICMP == ICMPError{Type: 3, Code: 13} },
		},
		{
			name:   "an operation of the future",
			record: wire.Sock{Op: 99, Sock: tuple(sockClient, sockServer, 6, 4), Count: 1},
			packet: "10.0.0.1:40000 > 10.0.0.2:80",
			check:  func(s Sock) bool { return s.Op == "unknown(0x63)" },
		},
	})
}

func testDecodeSock(t *testing.T, cases []sockCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.record.Hdr = sockHeader(1)
			e, err := Decode(wiretest.RawRecord(t, c.record))
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Packet.Flow().String(); got != c.packet || e.Packet.Flags != c.flags {
				t.Errorf("packet %s [%s], want %s [%s]", got, e.Packet.Flags, c.packet, c.flags)
			}
			if s := e.Body.(Sock); !c.check(s) {
				t.Errorf("got %+v", s)
			}
		})
	}
}
