// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"strings"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// sent finds a query by its flow, as it is or as it was before translation, and its id.
func (s *Stage) sent(e event.Event, ct *event.Conntrack, msg message) *query {
	q := s.byKey[key{e.Packet.Flow(), msg.id}]
	if q == nil && ct != nil {
		q = s.byKey[key{ct.Original, msg.id}]
	}
	if q != nil && !q.asks(msg) {
		return nil // the id came round
	}
	return q
}

// reply finds the query of an answer that comes by a new journey.
func (s *Stage) reply(e event.Event, ct *event.Conntrack, msg message) step {
	q := s.answeredBy(e.Packet, ct, msg)
	if q == nil || q.delivered || q.passedBy(e) {
		return step{}
	}
	if q.answer == nil {
		q.answer, q.answerAt, q.answerSize = &msg, e.Time, e.Packet.Datagram()
		q.standing = asked
		s.servers.Put(e.Packet.Source(), true)
		if msg.truncated {
			s.tcp.truncated(q)
		}
	}
	return s.join(q, e.Journey, asAnswer)
}

// passedBy reports whether an answer was made in a namespace of this machine that the query never came to: it is not its server's.
func (q *query) passedBy(e event.Event) bool {
	h, ok := e.Body.(event.Hop)
	if !ok || q.captured || e.Direction != event.Out || h.SocketNetns == 0 || h.SocketNetns != e.Netns || len(q.hops) >= maxHops {
		return false
	}
	arrived := false // anywhere: else it may have come by a way that is not watched
	for _, s := range q.hops {
		if !s.Answer && s.Netns == e.Netns {
			return false
		}
		arrived = arrived || !s.Answer && s.Direction == event.In
	}
	return arrived
}

// answeredBy is the query that an answer is for: from who was asked; from another host to who asked; or to the client's
// address, but not the port that it asked by.
func (s *Stage) answeredBy(p *packet.Packet, ct *event.Conntrack, msg message) *query {
	flows := [...]packet.FlowTuple{p.Flow().Reverse(), {}, {Src: p.Destination()}, {Src: netip.AddrPortFrom(p.Dst, 0)}}
	if ct != nil {
		flows[1] = ct.Original
	}
	const translated = 1 // beyond it the answer is not one that the client takes
	for i, flow := range flows {
		q := s.byKey[key{flow, msg.id}]
		if q != nil && !q.closed && q.last != nil && q.asks(msg) && (i <= translated || q.standing == asked && msg.name != "") {
			return q
		}
		if _, judged := s.judged.Get(key{flow, msg.id}); judged && i <= translated {
			return nil
		}
	}
	return nil
}

// asks reports whether a message is about what the query asks. Letters are the same in both cases (RFC 4343).
func (q *query) asks(msg message) bool {
	return msg.name == "" || strings.EqualFold(q.msg.name, msg.name) && q.msg.qtype == msg.qtype
}
