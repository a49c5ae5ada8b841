// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Overflows is the stage for SYNs lost to full accept queues where no hook does: it joins a counter of a
// namespace that rose with the listener there that counts drops, or whose queue is over its limit, and makes the report of
// that socket, with the SYNs that had no answer there. It belongs before the stage that names pods.
type Overflows struct {
	lost  bounded.Map[uint32, uint64] // SYNs by namespace, as its counters were last read
	drops bounded.Map[listenerKey, uint32]
	syns  *bounded.Table[synKey, *lostSYN]
	only  event.Single
}

type listenerKey struct{ netns, inode uint32 }

type listenPort struct {
	netns uint32
	port  uint16
}

// synKey is the flow of a SYN at a listener's port.
type synKey struct {
	at   listenPort
	flow packet.FlowTuple
}

// lostSYN is a SYN that arrived and was not answered yet.
type lostSYN struct {
	event event.Event // the latest of its flow
	count uint32
}

const (
	maxLostSYNs = 4096
	// lostWithin is how old a SYN may be that a counter, read once a second, counts.
	lostWithin = 3 * time.Second
)

// NewOverflows returns the stage.
func NewOverflows() *Overflows {
	return &Overflows{syns: bounded.NewTable[synKey, *lostSYN](maxLostSYNs)}
}

// Observe implements Stage.
func (o *Overflows) Observe(e event.Event) []event.Event {
	f, ok := e.Body.(event.Fact)
	inode, replaced := f.ReplacedNetns()
	switch {
	case !ok:
		o.hop(e)
	case replaced:
		o.forget(inode)
	case f.Netstat != nil:
		o.lost.Put(f.Netstat.Netns, f.Netstat.Rose["TcpExtListenOverflows"])
	case f.Socket != nil && f.Socket.State == "LISTEN":
		if n := o.lostBy(f.Socket); n > 0 {
			return append([]event.Event{e}, o.reports(e, f.Socket, n)...)
		}
	}
	return o.only.Event(e)
}

// forget drops what was counted in a namespace.
func (o *Overflows) forget(inode uint32) {
	o.lost.Delete(inode)
	o.drops.DeleteFunc(func(k listenerKey) bool { return k.netns == inode })
	o.syns.DeleteFunc(func(k synKey) bool { return k.at.netns == inode })
}

// Flush implements Stage.
func (o *Overflows) Flush(time.Time, bool) []event.Event { return nil }

// Summarize implements event.Summarizer.
func (o *Overflows) Summarize(s *event.Summary) { s.AddEvicted("SYNs", o.syns.Evicted()) }

// hop takes in SYNs that arrive, and the answers.
func (o *Overflows) hop(e event.Event) {
	p := e.Packet
	if _, ok := e.Body.(event.Hop); !ok || p == nil || p.Proto != "tcp" || !p.HasFlag('S') {
		return
	}
	answer := p.HasFlag('.')
	switch {
	case e.Direction == event.In && !answer:
		k := synKey{listenPort{e.Netns, p.Dport}, p.Flow()}
		syn, known := o.syns.Get(k)
		if !known {
			syn = &lostSYN{}
		}
		syn.event = e
		syn.count++
		o.syns.Put(event.OwnerOf(e), k, syn, 1)
	case e.Direction == event.Out && answer:
		o.syns.Delete(synKey{listenPort{e.Netns, p.Sport}, p.Flow().Reverse()})
	}
}

// lostBy is how many SYNs a listener lost since its namespace's counter was read before, 0 if they were not its own: by
// what it counts itself, or else by its queue.
func (o *Overflows) lostBy(s *event.Socket) uint32 {
	rose, _ := o.lost.Get(s.About.Netns)
	n := uint32(rose)
	key := listenerKey{s.About.Netns, s.Inode}
	before, counts := o.drops.Get(key)
	counts = counts && s.Drops > 0
	o.drops.Put(key, s.Drops)
	switch {
	case n == 0 || counts && s.Drops <= before:
		return 0
	case counts:
		return min(n, s.Drops-before)
	case s.Queue > s.Limit:
		o.lost.Delete(s.About.Netns) // it cannot be known what others lost
		return n
	case s.Queue == s.Limit:
		return min(n, s.Drops)
	}
	return 0
}

// reports are those that a listener would have made of n lost SYNs: one for each client with SYNs, or one for all.
func (o *Overflows) reports(e event.Event, s *event.Socket, n uint32) []event.Event {
	var all []event.Event
	at := listenPort{s.About.Netns, s.Local.Port()}
	for k, syn := range o.syns.All() {
		if k.at != at {
			continue
		}
		flow := k.flow
		local := s.Local.Addr().Unmap()
		if e.Time.Sub(syn.event.Time) <= lostWithin && (local.IsUnspecified() || local == flow.Dst.Addr()) {
			report := reportSYN(s, e, min(n, syn.count))
			report.Packet, report.Journey = syn.event.Packet, syn.event.Journey
			b := report.Body.(event.Sock)
			b.Local, b.Remote = flow.Dst, flow.Src
			report.Body = b
			all = append(all, report)
		}
		o.syns.Delete(k)
	}
	if len(all) == 0 {
		return []event.Event{reportSYN(s, e, n)}
	}
	slices.SortFunc(all, func(a, b event.Event) int { return a.Packet.Source().Compare(b.Packet.Source()) })
	return all
}

// reportSYN is the report that the listener would have made of n lost SYNs.
func reportSYN(s *event.Socket, e event.Event, n uint32) event.Event {
	e.Netns, e.PID, e.TID, e.Comm = s.About.Netns, s.PID, s.PID, s.Comm
	e.Body = event.Sock{
		Op: event.SockSynLost, Proto: "tcp", Local: s.Local, State: s.State, Backlog: s.Queue, Limit: s.Limit,
		Inode: uint64(s.Inode), Count: n,
	}
	return e
}
