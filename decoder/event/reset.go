// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"

	"ktrace/decoder/packet"
)

// KindReset is a TCP connection that was reset; a stage makes it.
const KindReset Kind = "reset"

// ResetSender says who put an end to a connection.
type ResetSender string

// Who sends resets.
const (
	SenderKernel    ResetSender = "kernel"    // of this node: no process wanted it
	SenderApp       ResetSender = "app"       // a process of this node, by closing or ending
	SenderFirewall  ResetSender = "firewall"  // a rule of this node
	SenderPeer      ResetSender = "peer"      // the other end, which is not on this node
	SenderMiddlebox ResetSender = "middlebox" // neither end
	SenderUnknown   ResetSender = "unknown"   // records were lost that may have said it
)

// ResetCause says why.
type ResetCause string

// Causes of resets.
const (
	ResetRefused       ResetCause = "refused"         // nothing listens
	ResetStale         ResetCause = "stale"           // the receiver of a packet knows no such connection
	ResetUnread        ResetCause = "unread-data"     // closed with data unread
	ResetDataAfterExit ResetCause = "data-after-exit" // data came for a connection that the process had closed
	ResetLinger        ResetCause = "linger-0"        // closed with SO_LINGER of time 0
	ResetKilled        ResetCause = "killed"          // the process was ended by a signal
	ResetExited        ResetCause = "exited"          // the process ended without closing
	ResetDisconnected  ResetCause = "disconnected"    // the process gave the connection up
	ResetTimeout       ResetCause = "timeout"         // keepalive or a retransmission limit
	ResetMemory        ResetCause = "memory"          // too many orphans, or no memory for TCP
	ResetDestroyed     ResetCause = "destroyed"       // from outside the process: ss -K, a network manager
	ResetOverflow      ResetCause = "accept-queue"    // full, and net.ipv4.tcp_abort_on_overflow is set
	ResetInvalid       ResetCause = "invalid-packet"  // one that fits no connection
	ResetRejected      ResetCause = "rejected"        // by a rule
	ResetForged        ResetCause = "forged"          // in the name of the other end
	ResetUnknown       ResetCause = "unknown"         // decided on another machine

	ResetUnreachable ResetCause = "unreachable" // no route, or no host has the address

	ResetOlder        ResetCause = "older-connection"   // a SYN was answered by a word about an earlier connection of the same ends
	ResetUntranslated ResetCause = "untranslated-reply" // an answer came from the backend's own address, which the client never asked
)

// Reset is one connection's end by reset, however many reset packets and reports it took; or a flow's, of whatever
// protocol, by an ICMP error that says it is not wanted.
type Reset struct {
	Sender     ResetSender      `json:"sender"`
	Cause      ResetCause       `json:"cause"`
	Reason     string           `json:"reason"`             // by the kernel's name, "not-reported" if it gives none
	State      string           `json:"state,omitempty"`    // of the connection at the end that was reset, else at the other
	Connection packet.FlowTuple `json:"connection"`         // from the sender to the end that was reset
	Sent       *Sock            `json:"sent,omitempty"`     // what its sender reported, nil if it was sent elsewhere
	Received   *Sock            `json:"received,omitempty"` // what the socket reported that it ended, nil if that is elsewhere
	Packets    int              `json:"packets"`            // reset packets sent or received by sockets here
	TTL        *TTLs            `json:"ttl,omitempty"`      // nil if none of the peer's other packets was seen
	Answered   bool             `json:"answered,omitempty"` // the peer accepted the connection after it was reset in its name
	Drop       *Drop            `json:"drop,omitempty"`     // of the packet that was rejected
	Dropped    *packet.Packet   `json:"dropped,omitempty"`  // that packet
	DropAt     Header           `json:"-"`                  // of that drop
	Place      string           `json:"place,omitempty"`    // where the drop, the TTL or the ICMP error was seen
	Answer     *Answer          `json:"answer,omitempty"`   // the ICMP error, nil of a reset
	Refused    *packet.Packet   `json:"refused,omitempty"`  // what that is about

	Server     netip.AddrPort   `json:"server,omitzero"`        // the end of Connection that was connected to, where its beginning was seen
	Backend    netip.AddrPort   `json:"backend,omitzero"`       // who is the server behind translation
	BackendPod string           `json:"backend_pod,omitempty"`  // ns/name of the pod that is the backend
	Original   packet.FlowTuple `json:"original,omitzero"`      // as the client began it; valid iff Cause is untranslated-reply
	From       uint32           `json:"from_netns,omitempty"`   // network namespace that it began its way in, 0 if that was not seen
	Lost       *Gap             `json:"lost_records,omitempty"` // of an unknown sender
	Guessed    bool             `json:"guessed,omitempty"`      // the kernel of Sender reports its resets, and not this one
}

// Kind implements Body.
func (Reset) Kind() Kind { return KindReset }

// ServedAt implements Served.
func (r Reset) ServedAt() netip.AddrPort { return r.Backend }

// ServedBy implements Served.
func (r Reset) ServedBy(pod string) Body {
	r.BackendPod = pod
	return r
}

// Summary implements Body.
func (r Reset) Summary() string {
	return fmt.Sprintf("%v reset by %s: %s (%s)", r.Connection, r.Sender, r.Cause, r.Reason)
}

// Columns implements Tabular.
func (Reset) Columns() []Column {
	return []Column{{"SENDER", 9}, {"CAUSE", 15}, {"STATE", 11}, {"CONNECTION", 0}}
}

// Row implements Tabular.
func (r Reset) Row(Event) []string {
	state, connection := r.State, r.Connection.String()
	if r.Refused != nil {
		state, connection = "-", r.Refused.Proto+" "+connection+", "+r.Answer.String()
	}
	return []string{string(r.Sender), string(r.Cause), state, connection}
}

// TTLs are those of a reset and of another packet of the same end, at the same device.
type TTLs struct {
	Reset   uint8  `json:"reset"`
	Peer    uint8  `json:"peer"`
	ResetID uint32 `json:"reset_id"` // identification of the IPv4 packets
	PeerID  uint32 `json:"peer_id"`
}

// Apart is by how many routers the ways of the two differ at least. They may have begun with different TTLs, as where a
// kernel sends the one and a program the other.
func (t TTLs) Apart() int {
	return min(distance(int(t.Reset), int(t.Peer)), distance(routersBehind(t.Reset), routersBehind(t.Peer)))
}

func distance(a, b int) int { return max(a-b, b-a) }

// routersBehind is how many routers a packet has passed, if it began with the next of the TTLs that are in use.
func routersBehind(ttl uint8) int {
	for _, begin := range []uint8{32, 64, 128} {
		if ttl <= begin {
			return int(begin - ttl)
		}
	}
	return 255 - int(ttl)
}
