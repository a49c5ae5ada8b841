// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// losing is a way on which segments are lost, as its sender's TCP counts them.
type losing struct {
	open  map[packet.FlowTuple]event.FlowLoss // connections
	ended event.FlowLoss
	event event.Event // the latest
	flow  event.Flow
	first time.Time
	due   time.Time
	news  bool // since it was judged
}

const (
	maxLosingFlows = 64
	// What is more than congestion: TCP finds out the rate of a way by losing a few segments, of which BBR minds fewer than
	// one in five; and the first burst of a connection overshoots.
	minLost         = 8
	minLostShare    = 1.0 / 16
	minLostShareBBR = 1.0 / 5
	minLostBursts   = 3
	graveLossShare  = 1.0 / 4
)

// loses takes in a connection with segments that were sent again.
func (r *Flows) loses(e event.Event, f event.Flow) {
	key := pathOf(e)
	l, known := r.losing.Get(key)
	if !known {
		l = &losing{open: map[packet.FlowTuple]event.FlowLoss{}, first: e.Time.Add(-f.TCP.Established)}
		r.losing.Put(event.OwnerOf(e), key, l, 1)
	}
	if !l.news {
		l.due = e.Time.Add(flowSettles)
	}
	l.event, l.flow, l.news = e, f, true
	flow := e.Packet.Flow()
	if _, open := l.open[flow]; open || len(l.open) < maxLosingFlows {
		l.open[flow] = f.TCP.Loss
	}
	if f.TCP.All != nil {
		l.ended = *f.TCP.All
	}
	if f.State == event.FlowEnded && f.TCP.All != nil {
		delete(l.open, flow)
	}
}

// total is all that is known of the way.
func (l *losing) total() event.FlowLoss {
	all := l.ended
	for _, x := range l.open {
		all.Segments += x.Segments
		all.Lost += x.Lost
		all.Bursts += x.Bursts
		all.Flows++
		all.Lossy++
	}
	return all
}

// much reports whether so much is lost that it is not what TCP itself causes.
func (l *losing) much() bool {
	all, least := l.total(), minLostShare
	if l.flow.TCP.Congestion == "bbr" {
		least = minLostShareBBR
	}
	return all.Lost >= minLost && all.Bursts >= minLostBursts && all.Share() >= least && (all.Flows > 1 || !l.flow.TCP.Hangs())
}

// lossy is the finding about a way, if it loses much.
func (r *Flows) lossy(key pathKey, l *losing) (event.Finding, bool) {
	if !l.much() {
		return event.Finding{}, false
	}
	e, f, all := l.event, l.flow, l.total()
	from, to := end(e.Pod, e.Packet.Source()), end(e.Peer, e.Packet.Destination())
	x := event.Finding{
		ID: "tcp-loss", Subject: f.Server.Addr().String(), Confidence: event.Likely, Severity: event.Warning,
		Title:    fmt.Sprintf("%.0f %% of what %s sends to %s is lost on its way and must be sent again.", 100*all.Share(), from, to),
		Cause:    "Something on the way drops packets: a bad link or cable, an overloaded device, or a policer. TCP takes it for congestion and slows down, and each loss at the end of a burst costs a timeout.",
		Evidence: []string{ofFlow(e, f), sentAgain(all, f.TCP)},
		Remedy: []event.Remedy{
			r.socketOf(e, "retrans, lost, rto"),
			run("ip -s link").In(r.state.enter(e.Netns)).Noting("errors and drops of the devices; the same in each namespace on the way"),
			run("traceroute -nTp %v -q 20 %v", e.Packet.Dport, e.Packet.Dst).In(r.state.enter(e.Netns)).Noting("from which hop on packets are lost"),
		},
	}
	if all.Share() >= graveLossShare {
		x.Severity = event.Critical
	}
	if back, ok := r.losing.Get(pathKey{key.netns, key.to, key.from}); ok && back.much() {
		x.Evidence = append(x.Evidence, "the other way: "+sentAgain(back.total(), back.flow.TCP))
	}
	r.where(&x, key, e, all.Lost)
	x = conclude(x, e)
	x.First, x.Count = l.first, uint64(max(all.Lossy, 1))
	return x, true
}

// where says how far the packets came. What this node's kernel dropped itself is another rule's.
func (r *Flows) where(x *event.Finding, key pathKey, e event.Event, lost uint64) {
	if e.Iface != "" {
		x.Evidence = append(x.Evidence, fmt.Sprintf("they leave by %q in netns %d", e.Iface, e.Netns))
	}
	switch n, _ := r.dropped.Get(pathKey{0, key.from, key.to}); {
	case 2*n >= lost:
		x.Severity = event.Info
		x.Evidence = append(x.Evidence, fmt.Sprintf("this node's kernel dropped %d packets of that way itself, and says why", n))
	default:
		x.Evidence = append(x.Evidence, fmt.Sprintf("this node's kernel was seen to drop %d packets of that way", n))
	}
}

// sentAgain says how much was lost.
func sentAgain(l event.FlowLoss, t *event.FlowTCP) string {
	s := fmt.Sprintf("%d of %d segments were sent again, in %d bursts, on %d connections", l.Lost, l.Segments, l.Bursts, max(l.Flows, 1))
	if l.Flows > l.Lossy {
		s = fmt.Sprintf("%d of %d segments were sent again, in %d bursts, on %d of %d connections", l.Lost, l.Segments, l.Bursts, l.Lossy, l.Flows)
	}
	return s + fmt.Sprintf("; %s, window %d segments, RTT %v", t.Congestion, t.Cwnd, t.RTT.Round(10*time.Microsecond))
}
