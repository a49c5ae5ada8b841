// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
)

// udpSizes is what is known of the sizes of datagrams on a path.
type udpSizes struct {
	largest  uint32         // bytes, that was answered
	small    time.Time      // when something was last answered
	lost     []datagramSent // larger ones that were not, though a smaller one was that their socket sent later
	of       *udpExchange   // that sent the latest of them
	reported bool
}

func (r *Datagrams) sizesOf(x *udpExchange) *udpSizes {
	return r.sizes.Keep(directionOf(x.flow()), func() *udpSizes { return &udpSizes{} })
}

// passed takes in that a datagram is answered, and that those which its socket sent before it are not.
func (s *udpSizes) passed(x *udpExchange, now time.Time, size uint32, silent []datagramSent) {
	s.largest, s.small = max(s.largest, size), now
	if len(s.lost)+len(silent) > maxSilent {
		s.lost = nil
	}
	all := append(s.lost, silent...)
	s.lost = all[:0]
	for _, d := range all {
		if d.size > s.largest {
			s.lost, s.of = append(s.lost, d), x
		}
	}
}

// holes reports the paths on which large datagrams are lost between small ones that are answered.
func (r *Datagrams) holes() (found []event.Finding) {
	for _, s := range r.sizes.All() {
		if s.of == nil || s.of.troubled {
			continue
		}
		if f, ok := r.hole(s.of, nil); ok {
			found = append(found, f)
		}
	}
	return found
}

// hole concludes from large datagrams that are not answered while small ones to the same host are: a path MTU black hole.
func (r *Datagrams) hole(x *udpExchange, open []datagramSent) (event.Finding, bool) {
	s, e := r.sizesOf(x), x.first
	lost := append(s.lost[:len(s.lost):len(s.lost)], open...)
	if s.reported || s.largest == 0 || len(lost) < askedAgain || r.ofOthers(x) {
		return event.Finding{}, false
	}
	smallest := lost[0].size
	for _, d := range lost {
		smallest = min(smallest, d.size)
	}
	if smallest <= max(s.largest, minPathMTU(e.Packet.Src)) {
		return event.Finding{}, false
	}
	s.reported = true
	from, to := e.Ends()
	src, dst := e.Packet.Src, x.server().Addr()
	f := conclude(event.Finding{
		ID: "pmtu-blackhole", Confidence: event.Likely, Subject: fmt.Sprintf("%v to %v", src, dst),
		Title: fmt.Sprintf("Datagrams of %d bytes from %s to %s are lost while small ones pass, without an ICMP error: a path MTU black hole.",
			smallest, podOrAddr(from, src), podOrAddr(to, dst)),
		Cause: "A router or link on the path takes no packets of that size, and the ICMP error for the sender is not sent or is filtered. UDP has no way of its own to find the path MTU.",
		Evidence: []string{
			fmt.Sprintf("no answer: to %d datagrams of %d bytes and more, %s %v", len(lost), smallest, e.Packet.Proto, x.flow()),
			fmt.Sprintf("answered: datagrams of up to %d bytes, last at %s", s.largest, s.small.UTC().Format("15:04:05.000000")),
			fmt.Sprintf("no ICMP message about packets from %v to %v that are too big was seen, and this node dropped none", src, dst),
		},
		Remedy: probe(smallest, dst),
	}, e)
	f.First, f.Last = lost[0].at, lost[len(lost)-1].at
	f.Time = f.Last
	return f, true
}
