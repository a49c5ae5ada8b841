// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// udpExchange is what one UDP socket sent to one server, and whether that answered.
type udpExchange struct {
	first    event.Event    // the datagram where the sender's namespace sent it first
	asked    netip.AddrPort // whom, before translation
	backend  netip.AddrPort // what that was translated to, if it was
	last     *event.Sight   // of the latest datagram
	journey  uint64         // of the latest datagram
	open     datagramSent   // the latest datagram, as long as there is no answer
	sent     int
	answers  int
	silent   []datagramSent // since the latest answer: those after which the sender paused, and sent again
	troubled bool           // the kernel dropped a datagram, or an ICMP error is about it: other rules know why
	reported bool
}

// datagramSent is a datagram that left its sender.
type datagramSent struct {
	at   time.Time
	size uint32 // bytes, from the network header on
}

const (
	// retryPause is how long who waits for an answer waits at least before it asks again; who sends faster sends a stream.
	retryPause = 100 * time.Millisecond
	// retryLongest is the longest pause that is taken for one: who sends more seldom reports, or keeps something alive.
	retryLongest = 5 * time.Second
	// udpAnswerWithin is how long an answer may take.
	udpAnswerWithin = time.Second
	// udpWatched is how long datagrams without an answer are counted before they are judged.
	udpWatched = 4 * time.Second
	maxSilent  = 64
)

// send takes in another datagram of the socket.
func (x *udpExchange) send(e event.Event) {
	x.sent++
	x.journey = e.Journey
	if pause := e.Time.Sub(x.open.at); !x.open.at.IsZero() {
		switch {
		case pause > retryLongest:
			x.silent = nil
		case pause >= retryPause && len(x.silent) < maxSilent:
			x.silent = append(x.silent, x.open)
		}
	}
	x.open = datagramSent{e.Time, e.Packet.Len}
}

// seen takes in where the latest datagram is.
func (x *udpExchange) seen(e event.Event, ct *event.Conntrack, in *event.Carrier) {
	s := event.SightOf(e, ct, in)
	x.last = &s
	if ct.DNAT() {
		x.backend = ct.Reply.Src
	}
}

// answered takes in an answer. It returns the size of what it seems to answer, 0 if that is not known, and what was sent
// before that and is not answered.
func (x *udpExchange) answered() (size uint32, silent []datagramSent) {
	size, silent = x.open.size, x.silent
	x.answers++
	x.open, x.silent = datagramSent{}, nil
	return size, silent
}

// unanswered are the datagrams that were sent again, with the latest if that had the time for an answer.
func (x *udpExchange) unanswered(now time.Time) []datagramSent {
	if x.open.at.IsZero() || now.Sub(x.open.at) < udpAnswerWithin {
		return x.silent
	}
	return append(x.silent[:len(x.silent):len(x.silent)], x.open)
}

// server is who should have answered.
func (x *udpExchange) server() netip.AddrPort {
	if x.backend.IsValid() {
		return x.backend
	}
	return x.asked
}

// flow is the exchange's, as the sender knows it.
func (x *udpExchange) flow() packet.FlowTuple { return x.first.Packet.Flow() }

// captured reports whether the exchange is known from a capture.
func (x *udpExchange) captured() bool { return x.first.Body.(event.Hop).Captured }
