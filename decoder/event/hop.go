// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"strconv"

	"ktrace/decoder/packet"
	"ktrace/decoder/wire"
)

// KindHop is a packet at a device.
const KindHop Kind = "hop"

// Hop is a packet seen at a device.
type Hop struct {
	Conntrack   *Conntrack `json:"conntrack,omitempty"`    // nil if conntrack has not seen it (yet), or it is untracked
	SocketNetns uint32     `json:"socket_netns,omitempty"` // of the socket that it came from, where that is known
	// Handmade says that a program in SocketNetns wrote its headers, and sent it by a raw or packet socket: they may claim anything.
	Handmade bool `json:"handmade,omitempty"`

	Captured bool `json:"-"` // so that the packet's bytes are all that the capture took
	ToAll    bool `json:"-"` // the captured frame was for all machines of its link, or a group of them
}

// Kind implements Body.
func (Hop) Kind() Kind { return KindHop }

// Summary implements Body.
func (h Hop) Summary() string {
	if h.Conntrack == nil {
		return "seen"
	}
	return "seen, " + h.Conntrack.String()
}

// Columns implements Tabular.
func (Hop) Columns() []Column {
	return []Column{{"WHERE", 30}, {"PACKET", 0}}
}

// Row implements Tabular.
func (h Hop) Row(e Event) []string {
	if e.Packet == nil {
		return []string{Place(e), h.Summary()}
	}
	text := e.Packet.String()
	if h.Conntrack.DNAT() || h.Conntrack.SNAT() {
		text += ", " + h.Conntrack.String()
	}
	return []string{Place(e), text}
}

// Conntrack is the entry that a packet belongs to.
type Conntrack struct {
	Status   []string         `json:"status,omitempty"` // as Tracked.Status
	Original packet.FlowTuple `json:"original"`
	Reply    packet.FlowTuple `json:"reply"` // as answers are expected: its Src is the backend, if the flow is translated
	bits     uint32
}

// Bits of nf_conn.status (linux/netfilter/nf_conntrack_common.h, which is ABI).
const (
	ipsConfirmed  = 1 << 3
	ipsSrcNAT     = 1 << 4
	ipsDstNAT     = 1 << 5
	ipsDstNATDone = 1 << 8
	ipsDying      = 1 << 9
)

// conntrackStatus names the bits of nf_conn.status, from the lowest.
var conntrackStatus = []string{"expected", "seen-reply", "assured", "confirmed", "src-nat", "dst-nat", "seq-adjust",
	"src-nat-done", "dst-nat-done", "dying", "fixed-timeout", "template", "untracked", "helper", "offload", "hw-offload"}

// DNAT reports whether the destination is translated.
func (c *Conntrack) DNAT() bool { return c != nil && c.bits&ipsDstNAT != 0 }

// SNAT reports whether the source is translated.
func (c *Conntrack) SNAT() bool { return c != nil && c.bits&ipsSrcNAT != 0 }

// Translated reports whether either end is.
func (c *Conntrack) Translated() bool { return c.DNAT() || c.SNAT() }

// Confirmed reports whether conntrack has taken the flow in. Until then a packet of it may still be lost.
func (c *Conntrack) Confirmed() bool { return c != nil && c.bits&ipsConfirmed != 0 }

// NATDone reports whether the rules for destinations have been asked, whatever they said.
func (c *Conntrack) NATDone() bool { return c != nil && c.bits&ipsDstNATDone != 0 }

// String is the original flow and, if it is translated, to what.
func (c *Conntrack) String() string {
	if !c.Translated() {
		return "not translated"
	}
	return fmt.Sprintf("%v translated to %v", c.Original, c.Reply.Reverse())
}

func decodeHop(raw []byte, e *Event) error {
	var r wire.Path
	r.Decode(raw)
	pathHeader(&r, e)
	e.Body = Hop{Conntrack: pathConntrack(&r), SocketNetns: r.SocketNetns, Handmade: r.Handmade != 0}
	return nil
}

// Place says where an event was seen, as evidence: device, namespace, direction.
func Place(e Event) string {
	where := ""
	if e.Ifindex != 0 {
		where = e.Iface
		if where == "" {
			where = "device " + strconv.FormatUint(uint64(e.Ifindex), 10)
		}
		if e.Direction != "" {
			where += " " + string(e.Direction)
		}
	}
	if e.Netns == 0 {
		return where
	}
	if where != "" {
		where += ", "
	}
	return where + "netns " + strconv.FormatUint(uint64(e.Netns), 10)
}

// At is " at " and the place of an event, "" if that is not known.
func At(e Event) string {
	if place := Place(e); place != "" {
		return " at " + place
	}
	return ""
}

// NewConntrack returns the entry of a flow whose answers are expected as reply says.
func NewConntrack(original, reply packet.FlowTuple) *Conntrack {
	c := &Conntrack{Original: original, Reply: reply, bits: ipsDstNATDone}
	if reply.Src != original.Dst {
		c.bits |= ipsDstNAT
	}
	if reply.Dst != original.Src {
		c.bits |= ipsSrcNAT
	}
	return c
}
