// SPDX-License-Identifier: Apache-2.0

package node

import (
	"ktrace/decoder/event"
	"ktrace/decoder/ruleset"
)

// Tracking returns the rule by which conntrack does not track the flow of a packet that netfilter dropped; nothing if
// there is none, or if conntrack has the flow.
func (o *Reader) Tracking(e event.Event) []event.Fact {
	d, ok := e.Body.(event.Drop)
	p, isIP := ruleset.FromEvent(e)
	if !ok || !isIP || d.Conntrack.Confirmed() {
		return nil
	}
	s, err := o.ruled(e.Netns, at(e))
	if err != nil {
		return unread(e.Netns, "rules", err)
	}
	c := ruleset.Case{About: event.KeyOf(e), Packet: p}
	if err := s.Do(func() error { return place(&c, e.Ifindex) }); err != nil {
		return unread(e.Netns, "route", err)
	}
	var t *event.Tracking
	err = s.complete(func() (wanted []*ruleset.Set) {
		t, wanted = s.rules.Tracking(c, quoted(e))
		return wanted
	})
	if err != nil {
		return unread(e.Netns, "rules", err)
	}
	if t == nil {
		return nil
	}
	return []event.Fact{{Tracking: t}}
}

// quoted is what an ICMP error is about, nil if the event's packet is none.
func quoted(e event.Event) *ruleset.Packet {
	about := e.Packet.Quoted()
	if about == nil {
		return nil
	}
	e.Packet, e.Body = about, event.Hop{}
	if p, ok := ruleset.FromEvent(e); ok {
		return &p
	}
	return nil
}
