// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
)

// hanging is a connection whose data is not acknowledged, as it was reported last.
type hanging struct {
	event  event.Event
	flow   event.Flow
	begun  time.Time // when the data was sent that is not acknowledged
	pause  time.Duration
	due    time.Time
	judged bool
}

const (
	// minPause is the shortest pause after which something in between may have forgotten a connection, where the peer is known
	// to be alive; minBlindPause where it is not: shorter ones many connections have when a peer goes away.
	minPause      = 3 * time.Second
	minBlindPause = 10 * time.Second
)

// hangs takes in a connection whose data is not acknowledged.
func (r *Flows) hangs(e event.Event, f event.Flow) {
	key := flowKey{e.Netns, e.Packet.Flow()}
	h, known := r.hanging.Get(key)
	if !known || f.TCP.Acked != h.flow.TCP.Acked {
		h = &hanging{begun: e.Time.Add(-f.TCP.Waited()), pause: f.TCP.Pause(), due: e.Time.Add(flowSettles)}
		r.hanging.Put(event.OwnerOf(e), key, h, 1)
	}
	h.event, h.flow = e, f
	if f.State == event.FlowEnded {
		h.due = e.Time
	}
}

// hung is what a connection without acknowledgements comes to: something in between forgot it, or the peer cannot be reached
// any more.
func (r *Flows) hung(h *hanging) event.Finding {
	e, f := h.event, h.flow
	t, peer := f.TCP, e.Packet.Dst
	heard, _ := r.heard.Get(peer)
	deaf, _ := r.deaf.Get(peer)
	alive := heard.After(h.begun)
	x := event.Finding{
		ID: "tcp-loss", Subject: f.Server.String(), Confidence: event.Likely,
		Title: fmt.Sprintf("Nothing that %s sends to %s is acknowledged any more.", end(e.Pod, e.Packet.Source()), end(e.Peer, e.Packet.Destination())),
		Cause: "The connection was established and worked; now its packets, or the acknowledgements, are lost beyond this node, or the peer's host is down or cut off.",
		Evidence: []string{
			ofFlow(e, f),
			fmt.Sprintf("%d bytes are not acknowledged after %d retransmission timeouts in %v", t.Unacked, t.Timeouts, t.Waited().Round(10*time.Millisecond)),
			fmt.Sprintf("the peer was last heard %v before", t.Idle.Round(10*time.Millisecond)),
		},
		Remedy: []event.Remedy{
			r.socketOf(e, "timers, retransmissions, unacknowledged data"),
			run("tcpdump -c 5 -ni any host %v and tcp port %v", peer, e.Packet.Dport).In(r.state.enter(e.Netns)).Noting("whether anything comes back"),
		},
	}
	if f.Error != "" {
		x.Severity = event.Critical
	}
	switch {
	case alive:
		x.Evidence = append(x.Evidence, fmt.Sprintf("%v accepted or used other connections meanwhile, last %v after the data was sent", peer, heard.Sub(h.begun).Round(time.Millisecond)))
	case deaf.After(h.begun):
		x.Evidence = append(x.Evidence, fmt.Sprintf("%v does not answer new connections either", peer))
	}
	if h.pause >= minPause && alive || h.pause >= minBlindPause && !deaf.After(h.begun) {
		forgotten(&x, h, alive)
	}
	return x
}

// forgotten makes the finding one about a NAT or load balancer that forgot the connection in a pause.
func forgotten(x *event.Finding, h *hanging, alive bool) {
	e := h.event
	x.ID, x.Severity = "idle-timeout", event.Warning
	pause := h.pause.Round(100 * time.Millisecond)
	x.Title = fmt.Sprintf("After a pause of %v nothing that %s sends to %s on the same connection is acknowledged.", pause, end(e.Pod, e.Packet.Source()), end(e.Peer, e.Packet.Destination()))
	x.Cause = "A NAT, firewall or load balancer between the two forgot the idle connection and drops its packets in silence; new connections work."
	if !alive {
		x.Confidence = event.Possible
		x.Cause = "A NAT, firewall or load balancer between the two may have forgotten the idle connection; a peer that went away meanwhile would look the same."
	}
	x.Evidence = append(x.Evidence, fmt.Sprintf("nothing was sent or received for %v or more before that data", pause))
	x.Remedy = append(x.Remedy,
		run("sysctl net.ipv4.tcp_keepalive_time").Noting("in the client's network namespace: below the idle timeout of what is between the two; it counts with SO_KEEPALIVE only"),
		do("have the client keep idle connections alive (SO_KEEPALIVE, TCP_KEEPIDLE), or close them earlier than what is in between forgets them"))
}
