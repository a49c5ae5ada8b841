// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"time"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// FlowRole is which end of a connection a socket is.
type FlowRole string

// Roles of sockets; "" if the connection is older than ktrace.
const (
	FlowClient FlowRole = "client"
	FlowServer FlowRole = "server"
)

// FlowTCP is what TCP counted of an established connection, at the end that reports it. Counters begin with the connection, but
// for those of loss, which begin with ktrace if that is later.
type FlowTCP struct {
	Role          FlowRole      `json:"role,omitempty"`
	State         string        `json:"state"`                    // before the socket was closed, if it was
	Established   time.Duration `json:"established_ns,omitempty"` // since then; 0 if that was before ktrace
	Handshake     time.Duration `json:"handshake_rtt_ns,omitempty"`
	Sent          uint64        `json:"sent"`                   // payload bytes, those sent again included
	Acked         uint64        `json:"acked"`                  // payload bytes, and a SYN
	Received      uint64        `json:"received"`               // payload bytes
	Resent        uint64        `json:"resent"`                 // payload bytes sent again
	SegmentsIn    uint32        `json:"segments_received"`      // with data
	Retransmitted uint32        `json:"retransmitted"`          // segments, SYNs included
	Spurious      uint32        `json:"spurious,omitempty"`     // of them, those that the peer had already (RFC 2883)
	OutOfOrder    uint32        `json:"out_of_order,omitempty"` // segments received
	Delivered     uint32        `json:"delivered"`              // segments
	Loss          FlowLoss      `json:"loss"`
	Unacked       uint32        `json:"unacked,omitempty"` // bytes sent
	Unsent        uint32        `json:"unsent,omitempty"`  // bytes that wait
	Unread        uint32        `json:"unread,omitempty"`  // bytes that the process has not read
	PeerWindow    uint32        `json:"peer_window"`       // bytes
	Window        int32         `json:"window"`            // what is left of the own, bytes
	RTT           time.Duration `json:"rtt_ns,omitempty"`  // smoothed
	RTO           time.Duration `json:"rto_ns"`
	Timeouts      uint8         `json:"timeouts,omitempty"`           // in a row without an acknowledgement
	Idle          time.Duration `json:"idle_ns,omitempty"`            // since the peer was heard; 0 if it never was
	Quiet         time.Duration `json:"quiet_ns,omitempty"`           // since data was sent last; 0 if none was
	Silent        time.Duration `json:"silent_ns,omitempty"`          // since data came last; 0 if none did
	WindowLimited time.Duration `json:"window_limited_ns,omitempty"`  // only the peer's window kept data back so long
	Congestion    string        `json:"congestion_control,omitempty"` // its algorithm
	Cwnd          uint32        `json:"cwnd"`                         // segments
	MSS           uint32        `json:"mss"`
	PathMTU       uint32        `json:"path_mtu,omitempty"`
	Inode         uint64        `json:"inode,omitempty"` // as /proc/PID/fd shows it, 0 if no process holds the socket
	// All are the connections of the namespace with the peer's address that have ended, this one included; nil if nothing is known
	// of them.
	All *FlowLoss `json:"all,omitempty"`
}

// FlowLoss is what was sent and had to be sent again.
type FlowLoss struct {
	Segments uint64 `json:"segments"`        // with data, those sent again included
	Lost     uint64 `json:"lost"`            // sent again, without those that the peer had already
	Bursts   uint32 `json:"bursts"`          // quarters of a second in which some were
	Flows    uint32 `json:"flows,omitempty"` // connections with data
	Lossy    uint32 `json:"lossy,omitempty"` // of them, those that lost some
}

// Share is the part that was lost, from 0 to 1.
func (l FlowLoss) Share() float64 {
	if l.Segments == 0 {
		return 0
	}
	return min(float64(l.Lost)/float64(l.Segments), 1)
}

// Pause is how long nothing came from the peer before the data was sent that it does not acknowledge; at least, as far as the
// timeouts since say.
func (t *FlowTCP) Pause() time.Duration { return max(t.Idle-t.Waited(), 0) }

// Waited is how long data has waited for an acknowledgement: the timeout doubles each time (RFC 6298).
func (t *FlowTCP) Waited() time.Duration {
	if t.Timeouts == 0 {
		return 0
	}
	return 2*t.RTO - t.RTO>>(t.Timeouts-1)
}

// Hangs reports whether data is sent again and again and nothing is acknowledged.
func (t *FlowTCP) Hangs() bool { return t.Timeouts >= minHang && t.Unacked > 0 && t.PeerWindow > 0 }

// minHang is how many timeouts in a row say that a connection hangs: 3 s, where the first is after 200 ms.
const minHang = 4

// PeerStalls reports whether data waits for a window of zero, and nothing else.
func (t *FlowTCP) PeerStalls() bool {
	return t.Unsent > 0 && t.Unacked == 0 && t.PeerWindow < t.MSS && t.Quiet >= minStall
}

// Stalls reports whether the process does not read what has come, so that the own window is zero.
func (t *FlowTCP) Stalls() bool { return t.Unread > 0 && t.Window <= 0 && t.Silent >= minStall }

// minStall is how long a window stays zero until that is worth a word.
const minStall = 2 * time.Second

// Client is the end that connected, as far as that is known: else the one without a port that servers have.
func (f Flow) Client(p *packet.Packet) netip.AddrPort {
	if f.Server == p.Source() {
		return p.Destination()
	}
	return p.Source()
}

// serverOf is the end of a connection that was connected to.
func serverOf(role FlowRole, ends packet.FlowTuple) netip.AddrPort {
	switch {
	case role == FlowServer, role == "" && ends.Src.Port() < packet.FirstEphemeral && ends.Dst.Port() >= packet.FirstEphemeral:
		return ends.Src
	}
	return ends.Dst
}

func flowRoleOf(r wire.FlowRole) FlowRole {
	switch r {
	case wire.RoleClient:
		return FlowClient
	case wire.RoleServer:
		return FlowServer
	}
	return ""
}

// flowTCPOf is what the record says of an established connection.
func flowTCPOf(r *wire.Flow) *FlowTCP {
	c, micro := &r.Conn, func(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }
	t := &FlowTCP{
		Role: flowRoleOf(wire.FlowRole(r.Role)), State: tcpState(c.State), Established: time.Duration(r.Established), Handshake: micro(r.Handshake),
		Sent: c.BytesSent, Acked: c.BytesAcked, Received: c.BytesReceived, Resent: c.BytesRetrans,
		SegmentsIn: c.SegsIn, Retransmitted: c.Retrans, Spurious: c.Spurious, OutOfOrder: c.OutOfOrder, Delivered: c.Delivered,
		Loss:    FlowLoss{Segments: uint64(c.SegsOut - r.OldSegs), Lost: uint64(max(int32(r.Lost), 0)), Bursts: r.Bursts},
		Unacked: c.Unacked, Unsent: c.Unsent, Unread: c.Unread, PeerWindow: c.SndWnd, Window: int32(c.RcvWnd),
		RTT: micro(c.Srtt), RTO: time.Duration(c.Rto), Timeouts: c.Timeouts,
		Idle: time.Duration(c.Idle), Quiet: time.Duration(c.Quiet), Silent: time.Duration(c.Received), WindowLimited: time.Duration(c.RwndLimited),
		Congestion: cString(c.Congestion[:]), Cwnd: c.Cwnd, MSS: c.Mss, PathMTU: c.Pmtu, Inode: r.Inode,
	}
	if a := &r.Totals; a.Flows > 0 {
		t.All = &FlowLoss{Segments: a.Segs, Lost: a.Retrans, Bursts: a.Bursts, Flows: a.Flows, Lossy: a.Lossy}
	}
	return t
}
