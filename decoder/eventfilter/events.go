// SPDX-License-Identifier: Apache-2.0

package eventfilter

import (
	"slices"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/pcapfilter"
)

// Filter keeps the events that a filter expression is about: of packets that pass it, as they are or with the addresses
// and ports that they had before translation or have after it; of packets whose journey or flow passed before; of
// sockets between such ends; and ICMP errors about any of these. It says what the filter in the kernel says, so that a
// recording without an expression, read with one, is the recording with it. An event of which the expression asks what
// was not recorded stays, unless its journey was put aside before.
type Filter struct {
	program  *pcapfilter.Program
	journeys bounded.Map[uint64, bool] // whether they passed
	flows    bounded.Map[flowKey, bool]
}

// flowKey is a flow whichever way a packet of it goes.
type flowKey struct {
	packet.Connection
	proto string
}

// New returns the filter for an expression. The error is a *pcapfilter.Error if it asks for a link header.
func New(e *pcapfilter.Expr) (*Filter, error) {
	p, err := e.Compile(pcapfilter.LinkNetwork)
	return &Filter{program: p}, err
}

// Match reports whether the event stays: who asks for packets does not ask for syncs.
func (s *Filter) Match(e event.Event) bool {
	switch body := e.Body.(type) {
	case event.Sock:
		return s.keepSock(e, body)
	case event.Fsync:
		return false
	case event.Fact:
		return body.Fsync == nil
	}
	return e.Packet == nil || s.keepPacket(e)
}

func (s *Filter) keepPacket(e event.Event) bool {
	about := e.Packet.Quoted()
	verdict := s.judge(e, e.Packet)
	if about != nil && verdict != pcapfilter.Yes {
		verdict = max(verdict, s.judge(e, about)) // Yes and Unknown are more than No
		if s.flowKnown(about) {
			verdict = pcapfilter.Yes
		}
	}
	passed, known := s.journeys.Get(e.Journey)
	switch {
	case passed, s.flowKnown(e.Packet):
		verdict = pcapfilter.Yes
	case known && verdict == pcapfilter.Unknown:
		verdict = pcapfilter.No
	}
	if e.Journey != 0 && verdict != pcapfilter.Unknown {
		s.journeys.Put(e.Journey, verdict == pcapfilter.Yes)
	}
	if verdict == pcapfilter.Yes {
		s.follow(e)
	}
	return verdict != pcapfilter.No
}

// judge is the verdict on a packet of the event under every name that it goes by.
func (s *Filter) judge(e event.Event, p *packet.Packet) pcapfilter.Verdict {
	part := partial(e, p)
	verdict := s.program.Decide(part)
	for _, flow := range namesOf(e.Conntrack(), p) {
		if verdict == pcapfilter.Yes {
			break
		}
		if other := s.program.Decide(renamed(part, p, flow)); other != pcapfilter.No {
			verdict = other
		}
	}
	return verdict
}

// keepSock judges by both directions of the socket's flow, and by the packet.
func (s *Filter) keepSock(e event.Event, body event.Sock) bool {
	ends := []*packet.Packet{e.Packet, body.Trigger}
	if body.Proto != "" {
		flow := packet.FlowTuple{Src: body.Local, Dst: body.Remote}
		ends = append(ends, packet.OfFlow(body.Proto, flow, ""), packet.OfFlow(body.Proto, flow.Reverse(), ""))
	}
	keep, judged := false, false
	for _, p := range ends {
		if p == nil {
			continue
		}
		judged = true
		part := partial(e, p)
		part.Bare = true
		if at := transportAt(p) + tcpFlagsAt; p.Flags != "" { // of a reset only that it is one
			part.Known[at] = part.Data[at]
		}
		keep = keep || s.flowKnown(p) || s.program.Decide(part) != pcapfilter.No
	}
	return keep || !judged
}

func (s *Filter) flowKnown(p *packet.Packet) bool {
	known, _ := s.flows.Get(flowKey{packet.ConnectionOf(p.Flow()), p.Proto})
	return known && (p.Sport != 0 || p.Dport != 0)
}

// follow takes note of the flow that a packet which passed is of.
func (s *Filter) follow(e event.Event) {
	s.flows.Put(flowKey{packet.ConnectionOf(e.Packet.Flow()), e.Packet.Proto}, true)
	if c := e.Conntrack(); c.DNAT() || c.SNAT() {
		s.flows.Put(flowKey{packet.ConnectionOf(c.Original), e.Packet.Proto}, true)
		s.flows.Put(flowKey{packet.ConnectionOf(c.Reply), e.Packet.Proto}, true)
	}
}

// namesOf are what a packet's flow was before translation and is after, in the packet's direction; none if it is not
// translated.
func namesOf(c *event.Conntrack, p *packet.Packet) []packet.FlowTuple {
	if !c.DNAT() && !c.SNAT() {
		return nil
	}
	there := []packet.FlowTuple{c.Original, c.Reply.Reverse()}
	for _, f := range there { // between the two kinds of translation it has one end of each
		if p.Source() == f.Src || p.Destination() == f.Dst {
			return there
		}
	}
	return []packet.FlowTuple{c.Original.Reverse(), c.Reply}
}

// Offsets in the headers of IPv4 and IPv6, and how long they are without options and extensions.
const (
	ip4Protocol, ip4Source, ip4Destination, ip4Size = 9, 12, 16, 20
	ip6Next, ip6Source, ip6Destination, ip6Size     = 6, 8, 24, 40
	tcpFlagsAt, tcpSize                             = 13, 20
)

// partial is what a filter can be asked about a packet: its bytes, or what its fields have of them.
func partial(e event.Event, p *packet.Packet) pcapfilter.Partial {
	part := pcapfilter.Partial{Packet: pcapfilter.Packet{Data: p.Bytes, Length: int(p.Len), Interface: e.Ifindex, Protocol: packet.EtherIPv4}}
	switch e.Direction {
	case event.In:
		part.Direction = pcapfilter.Inbound
	case event.Out:
		part.Direction = pcapfilter.Outbound
	}
	if p.Family == "ipv6" {
		part.Protocol = packet.EtherIPv6
	}
	if len(p.Bytes) == 0 {
		outline(p, &part)
	}
	return part
}

// outline lays out the headers as far as they are known without bytes.
func outline(p *packet.Packet, part *pcapfilter.Partial) {
	size := transportAt(p)
	part.Data, part.Known = make([]byte, size+tcpSize), make([]byte, size+tcpSize)
	set := func(at int, bits byte, b ...byte) {
		for i := range b {
			part.Data[at+i], part.Known[at+i] = b[i], bits
		}
	}
	number, named := packet.ProtoNumber(p.Proto), p.Proto != ""
	if p.Family == "ipv6" {
		set(0, 0xf0, 6<<4)
		if named && size == ip6Size {
			set(ip6Next, 0xff, number)
		}
	} else {
		set(0, 0xff, 4<<4|byte(size/4))
		set(6, 0x1f, byte(p.Fragment>>11))
		set(7, 0xff, byte(p.Fragment>>3))
		if named {
			set(ip4Protocol, 0xff, number)
		}
	}
	nameEnds(part, p, p.Flow(), size)
	switch {
	case p.Fragment != 0:
	case p.Proto == "tcp" && p.Flags != "":
		set(size+tcpFlagsAt, 0xff, packet.FlagBits(p.Flags))
	case p.ICMPType != 0 || p.ICMPCode != 0:
		set(size, 0xff, p.ICMPType, p.ICMPCode)
	}
}

// transportAt is where the transport header begins: without options and extensions, if that is unknown.
func transportAt(p *packet.Packet) int {
	if p.Family == "ipv6" {
		return max(int(p.TransportAt), ip6Size)
	}
	return max(int(p.TransportAt), ip4Size)
}

// nameEnds puts addresses and ports into a packet's headers. Those that are not chosen yet are not known.
func nameEnds(part *pcapfilter.Partial, p *packet.Packet, f packet.FlowTuple, transport int) {
	set := func(at int, known bool, b []byte) {
		for i := range b {
			if at+i >= len(part.Data) {
				return
			}
			part.Data[at+i], part.Known[at+i] = b[i], 0
			if known {
				part.Known[at+i] = 0xff
			}
		}
	}
	src, dst := ip4Source, ip4Destination
	if p.Family == "ipv6" {
		src, dst = ip6Source, ip6Destination
	}
	set(src, !f.Src.Addr().IsUnspecified(), f.Src.Addr().AsSlice())
	set(dst, !f.Dst.Addr().IsUnspecified(), f.Dst.Addr().AsSlice())
	if p.Fragment == 0 && (p.Proto == "tcp" || p.Proto == "udp" || p.Proto == "sctp") {
		set(transport, f.Src.Port() != 0, []byte{byte(f.Src.Port() >> 8), byte(f.Src.Port())})
		set(transport+2, f.Dst.Port() != 0, []byte{byte(f.Dst.Port() >> 8), byte(f.Dst.Port())})
	}
}

// renamed is the packet with other ends.
func renamed(part pcapfilter.Partial, p *packet.Packet, f packet.FlowTuple) pcapfilter.Partial {
	part.Data = slices.Clone(part.Data)
	if part.Known = slices.Clone(part.Known); part.Known == nil {
		part.Known = slices.Repeat([]byte{0xff}, len(part.Data))
	}
	nameEnds(&part, p, f, transportAt(p))
	return part
}
