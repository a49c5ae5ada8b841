// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// KindFlow is a TCP connection that did not come about at once, or is in trouble. Sockets report what they know of it, and of one
// that did not come about a stage makes one event of that and of the packets.
const KindFlow Kind = "flow"

// FlowState says how far a connection has come.
type FlowState string

// States of a connection.
const (
	FlowConnecting  FlowState = "connecting"  // a SYN was sent again
	FlowEstablished FlowState = "established" // after SYNs that were sent again
	FlowFailed      FlowState = "failed"      // the socket was closed and was never connected
	FlowOpen        FlowState = "open"        // established: TCP says how it is
	FlowEnded       FlowState = "ended"       // established, until the socket was closed: TCP says how it was
)

// Flow is an attempt to connect, or an established connection. Of an attempt the event's packet is the SYN as it was first seen,
// the event's time is when; of one that only a socket knows, when the socket said so. Of a connection the packet has the ends,
// from the socket's own to its peer's.
type Flow struct {
	State     FlowState     `json:"state"`
	Error     string        `json:"error,omitempty"`      // errno that the application gets; "" if it closed the socket itself
	SoftError string        `json:"soft_error,omitempty"` // errno of the last ICMP error that did not end the attempt
	SYNs      uint32        `json:"syns"`                 // sent, those that were sent again included
	Timeouts  uint32        `json:"timeouts,omitempty"`   // after which a SYN was sent again, or could not be
	Took      time.Duration `json:"took_ns,omitempty"`    // from connect, or the first SYN, until what was last seen of it
	TCP       *FlowTCP      `json:"tcp,omitempty"`        // of a connection, open or ended; else nil

	// What a stage adds.
	Server      netip.AddrPort `json:"server,omitzero"`  // whom the client asked
	Backend     netip.AddrPort `json:"backend,omitzero"` // what that was translated to, if it was
	ClientNetns uint32         `json:"client_netns,omitempty"`
	Local       bool           `json:"local,omitempty"`       // a socket of this node asked
	Last        *Sight         `json:"last,omitempty"`        // where the SYN was last seen
	AnswerLast  *Sight         `json:"answer_last,omitempty"` // where an answer was last seen
	Drop        *Loss          `json:"drop,omitempty"`
	ICMP        *ICMP          `json:"icmp,omitempty"`
	Captured    bool           `json:"captured,omitempty"`  // known from the packets of a capture
	OneSided    bool           `json:"one_sided,omitempty"` // an answer may have come without being seen
	Overflowed  bool           `json:"overflowed,omitempty"`
	Elsewhere   bool           `json:"elsewhere,omitempty"`   // the client's process connected to another address of that port meanwhile
	PortsTried  int            `json:"ports_tried,omitempty"` // ports that the client asked for without an answer, of any address
	// Of the connections to Server that were seen, and of those to any port of who should answer.
	Answered     int     `json:"answered"`
	Unanswered   int     `json:"unanswered"`
	HostAnswered int     `json:"host_answered"`
	Hops         []Sight `json:"hops,omitempty"` // the way of the last SYN, and of answers
}

// Kind implements Body.
func (Flow) Kind() Kind { return KindFlow }

// Summary implements Body.
func (f Flow) Summary() string {
	text := fmt.Sprintf("%s after %d SYNs", f.State, f.SYNs)
	if t := f.TCP; t != nil {
		text = fmt.Sprintf("%s %s, %d bytes sent, %d received, %d of %d segments lost", f.State, t.State, t.Sent, t.Received, t.Loss.Lost, t.Loss.Segments)
	}
	if f.Error != "" {
		text += ", " + f.Error
	}
	return text
}

// Asked is who should have answered: the backend where it is known.
func (f Flow) Asked() netip.AddrPort {
	if f.Backend.IsValid() {
		return f.Backend
	}
	return f.Server
}

// NoPort reports whether the connection failed before a SYN was sent, for want of a free port.
func (f Flow) NoPort(p *packet.Packet) bool { return f.State == FlowFailed && p.Sport == 0 }

func flowStateOf(s wire.FlowState) FlowState {
	switch s {
	case wire.FlowConnecting:
		return FlowConnecting
	case wire.FlowEstablished:
		return FlowEstablished
	case wire.FlowFailed:
		return FlowFailed
	case wire.FlowOpen:
		return FlowOpen
	case wire.FlowEnded:
		return FlowEnded
	}
	return FlowState(fmt.Sprintf("unknown(%#x)", uint32(s)))
}

func decodeFlow(raw []byte, e *Event) error {
	var r wire.Flow
	r.Decode(raw)
	ends := tupleFlow(&r.Ends)
	state := flowStateOf(wire.FlowState(r.State))
	if state == FlowOpen || state == FlowEnded {
		t := flowTCPOf(&r)
		e.Packet = packet.OfFlow("tcp", ends, "")
		e.Body = Flow{
			State: state, Error: sockErrno(r.Error), SoftError: sockErrno(r.SoftError), Took: time.Duration(r.Age),
			TCP: t, Server: serverOf(t.Role, ends), Local: true,
		}
		return nil
	}
	e.Packet = packet.OfFlow("tcp", ends, "S")
	e.Body = Flow{
		State: state, Error: sockErrno(r.Error), SoftError: sockErrno(r.SoftError),
		SYNs: 1 + r.Retransmits, Timeouts: r.Timeouts, Took: time.Duration(r.Age), Server: ends.Dst, Local: true,
	}
	return nil
}
