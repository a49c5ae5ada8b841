// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// KindSock is an event of a socket.
const KindSock Kind = "sock"

// SockOp says what a socket reported.
type SockOp string

// What sockets report.
const (
	SockResetSent        SockOp = "reset-sent"        // Event.Packet is the reset
	SockResetReceived    SockOp = "reset-received"    // Event.Packet is the reset
	SockError            SockOp = "error"             // the next system call on the socket fails with it
	SockSynRetransmit    SockOp = "syn-retransmit"    // by the client, which got no answer
	SockSynackRetransmit SockOp = "synack-retransmit" // the socket is the listener
	SockSynLost          SockOp = "syn-lost"          // the socket is the listener; its accept queue was full
	SockICMPSent         SockOp = "icmp-sent"         // there is no socket; Event.Packet is what the error answers
	SockBufferFull       SockOp = "buffer-full"       // the receive buffer had no room
	SockNoRoute          SockOp = "no-route"          // a routing table has no way for a connect; others may have
	SockRetransmit       SockOp = "retransmit"        // Event.Packet was sent again: nothing of it was acknowledged in time
)

// Sock is what one socket reported. Event.Packet goes between its two ends: to it, if it could not take it.
type Sock struct {
	Op       SockOp         `json:"op"`
	Proto    string         `json:"proto,omitempty"`
	Local    netip.AddrPort `json:"local,omitzero"` // zero if there was no socket
	Remote   netip.AddrPort `json:"remote,omitzero"`
	State    string         `json:"state,omitempty"`     // of TCP, before it was closed
	Reason   string         `json:"reason,omitempty"`    // of a reset that was sent, by the kernel's name; "" before 6.10
	ICMP     ICMPError      `json:"icmp,omitzero"`       // valid iff Op is icmp-sent
	Trigger  *packet.Packet `json:"trigger,omitempty"`   // what a reset answers; nil if the socket sent it unasked
	Error    string         `json:"error,omitempty"`     // errno
	Closing  bool           `json:"closing,omitempty"`   // Event.PID closes the socket, and that sent the reset
	Exiting  bool           `json:"exiting,omitempty"`   // by coming to its end
	Signal   int            `json:"signal,omitempty"`    // that ended it, 0 if none did
	LingerNo bool           `json:"linger_no,omitempty"` // SO_LINGER with time 0: close resets
	Backlog  uint32         `json:"backlog,omitempty"`   // of a listener: connections that wait for accept
	Limit    uint32         `json:"limit,omitempty"`     // of a listener
	Queued   uint32         `json:"queued,omitempty"`    // bytes that the receive buffer holds, bookkeeping included
	Buffer   uint32         `json:"buffer,omitempty"`    // bytes that it may hold
	Unread   uint32         `json:"unread,omitempty"`    // bytes that the process has not read
	Sent     uint64         `json:"sent,omitempty"`      // payload bytes, those sent again included
	Received uint64         `json:"received,omitempty"`  // payload bytes
	Idle     time.Duration  `json:"idle_ns,omitempty"`   // since the peer was last heard
	Inode    uint64         `json:"inode,omitempty"`     // as /proc/PID/fd shows it, 0 if no process holds the socket
	Count    uint32         `json:"count"`               // events that this one stands for

	// Valid iff Op is retransmit.
	Acked       uint64        `json:"acked,omitempty"`        // payload bytes, and a SYN
	Age         time.Duration `json:"age_ns,omitempty"`       // of the connection, 0 if it is older than ktrace
	Timeouts    uint32        `json:"timeouts,omitempty"`     // since anything was acknowledged, this one included
	Sacked      uint32        `json:"sacked,omitempty"`       // segments that the peer has, though it lacks one before them
	SackedBytes uint32        `json:"sacked_bytes,omitempty"` // of these, as far as its SACK blocks say
	PathMTU     uint32        `json:"path_mtu,omitempty"`     // as the socket takes it
	Payload     uint32        `json:"payload,omitempty"`      // bytes, of what was sent again

	ForgedBy string `json:"forged_by,omitempty"` // who sent in its peer's name what came for the socket; "" if none is known

	ReasonCode    uint32 `json:"-"` // enum sk_rst_reason of that kernel, valid iff HasReasonCode
	HasReasonCode bool   `json:"-"`
}

// Takes reports whether Event.Packet goes to where the report is from; else it comes from there.
func (s Sock) Takes() bool {
	switch s.Op {
	case SockResetReceived, SockICMPSent, SockBufferFull, SockSynLost, SockSynackRetransmit:
		return true
	}
	return false
}

// ICMPError is the type and code of an ICMP error, those of IPv4.
type ICMPError struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

// Kind implements Body.
func (Sock) Kind() Kind { return KindSock }

// Summary implements Body.
func (s Sock) Summary() string {
	text := string(s.Op)
	if s.Local.IsValid() && s.Remote.IsValid() {
		text += fmt.Sprintf(" %s > %s", s.Local, s.Remote)
	}
	for _, more := range []string{s.State, s.Error} {
		if more != "" {
			text += " " + more
		}
	}
	return text
}

// tcpStates are the kernel's (include/net/tcp_states.h), which are ABI.
func tcpState(n uint8) string {
	names := [...]string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
		"CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"}
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("unknown(%#x)", n)
}

// sockErrno names the errors that a network socket reports; the numbers are those of all architectures of Linux that
// ktrace runs on.
func sockErrno(n int32) string {
	names := map[int32]string{1: "EPERM", 13: "EACCES", 32: "EPIPE", 71: "EPROTO", 90: "EMSGSIZE", 92: "ENOPROTOOPT", 101: "ENETUNREACH",
		103: "ECONNABORTED", 104: "ECONNRESET", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 113: "EHOSTUNREACH"}
	switch name, ok := names[n]; {
	case ok:
		return name
	case n == 0:
		return ""
	}
	return fmt.Sprintf("errno %d", n)
}

// sockOpOf names what the kernel half numbers.
func sockOpOf(op wire.SockOp) SockOp {
	names := [...]SockOp{
		wire.SockResetSent:        SockResetSent,
		wire.SockResetReceived:    SockResetReceived,
		wire.SockError:            SockError,
		wire.SockSynRetransmit:    SockSynRetransmit,
		wire.SockSynackRetransmit: SockSynackRetransmit,
		wire.SockSynLost:          SockSynLost,
		wire.SockIcmpSent:         SockICMPSent,
		wire.SockBufferFull:       SockBufferFull,
		wire.SockNoRoute:          SockNoRoute,
		wire.SockRetransmit:       SockRetransmit,
	}
	if int(op) < len(names) && names[op] != "" {
		return names[op]
	}
	return SockOp(fmt.Sprintf("unknown(%#x)", uint32(op)))
}

func decodeSock(raw []byte, e *Event) error {
	var r wire.Sock
	r.Decode(raw)
	s := sockOf(&r)
	pkt := sockPacket(&r)
	switch s.Op {
	case SockResetSent:
		s.Trigger = pkt
		e.Packet = s.reset()
	case SockResetReceived:
		e.Packet = packet.OfFlow("tcp", packet.FlowTuple{Src: s.Remote, Dst: s.Local}, "R")
	case SockICMPSent:
		s.ICMP = ICMPError{Type: uint8(r.Reason >> 8), Code: uint8(r.Reason)}
		e.Packet = pkt
	case SockBufferFull, SockSynLost, SockSynackRetransmit: // what the socket could not take
		e.Packet = pkt
		if pkt == nil {
			e.Packet = packet.OfFlow(s.Proto, packet.FlowTuple{Src: s.Remote, Dst: s.Local}, "")
		}
	default:
		e.Packet = packet.OfFlow(s.Proto, packet.FlowTuple{Src: s.Local, Dst: s.Remote}, "")
		e.Packet.Len = r.Len
	}
	e.Body = s
	return nil
}

// sockOf is what the record says of the socket.
func sockOf(r *wire.Sock) Sock {
	s := Sock{
		Op:            sockOpOf(wire.SockOp(r.Op)),
		ReasonCode:    r.Reason,
		HasReasonCode: r.HasReason != 0,
		Error:         sockErrno(r.Error),
		Closing:       r.Closing != 0,
		Exiting:       r.Exiting != 0,
		Signal:        int(r.Sigcode & 0x7f),
		LingerNo:      r.Linger0 != 0,
		Backlog:       r.Backlog,
		Limit:         r.BacklogMax,
		Queued:        r.Rmem,
		Buffer:        r.Rcvbuf,
		Unread:        r.Unread,
		Sent:          r.BytesSent,
		Received:      r.BytesReceived,
		Idle:          time.Duration(r.Idle),
		Inode:         r.Inode,
		Count:         r.Count,

		Acked:       r.Acked,
		Age:         time.Duration(r.Age),
		Timeouts:    r.Timeouts,
		Sacked:      r.Sacked,
		SackedBytes: r.SackedBytes,
		PathMTU:     r.Pmtu,
		Payload:     r.Payload,
	}
	if r.Sock.Family != 0 {
		flow := tupleFlow(&r.Sock)
		s.Proto, s.State = packet.ProtoName(r.Sock.Proto), tcpState(r.State)
		s.Local = netip.AddrPortFrom(flow.Src.Addr().Unmap(), flow.Src.Port()) // an IPv6 socket may serve IPv4
		s.Remote = netip.AddrPortFrom(flow.Dst.Addr().Unmap(), flow.Dst.Port())
	}
	return s
}

// sockPacket is what the socket reported about, nil if that was none.
func sockPacket(r *wire.Sock) *packet.Packet {
	if r.Packet.Family == 0 {
		return nil
	}
	p := packet.OfFlow(packet.ProtoName(r.Packet.Proto), tupleFlow(&r.Packet), "")
	p.Len, p.TTL = r.Len, r.Ttl
	if p.Proto == "tcp" {
		p.Flags = packet.FlagsText(r.TcpFlags)
	}
	return p
}

// reset is the packet that was sent: to whom it answers, or to the other end.
func (s Sock) reset() *packet.Packet {
	if s.Trigger != nil {
		return packet.OfFlow("tcp", s.Trigger.Flow().Reverse(), "R")
	}
	return packet.OfFlow("tcp", packet.FlowTuple{Src: s.Local, Dst: s.Remote}, "R")
}
