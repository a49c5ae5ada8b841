package decoder

import "time"

// Overflows is the stage that tells of SYNs lost to full accept queues where no hook does: it joins a counter of a
// namespace that rose with a listener there whose queue is over its limit, and makes the report of that socket. It
// belongs before the stage that names pods.
type Overflows struct {
	lost map[uint32]uint64 // SYNs by namespace, as its counters were last read
	only Only
}

// NewOverflows returns the stage.
func NewOverflows() *Overflows { return &Overflows{lost: map[uint32]uint64{}} }

// Observe implements Stage.
func (o *Overflows) Observe(e Event) []Event {
	f, ok := e.Body.(Fact)
	switch {
	case !ok:
	case f.Netstat != nil:
		o.lost[f.Netstat.Netns] = f.Netstat.Rose["TcpExtListenOverflows"]
	case f.Socket != nil && f.Socket.State == "LISTEN" && f.Socket.Queue > f.Socket.Limit:
		if n := o.lost[f.Socket.About.Netns]; n > 0 {
			delete(o.lost, f.Socket.About.Netns)
			return []Event{e, f.Socket.lostSYN(e, uint32(n))}
		}
	}
	return o.only.Event(e)
}

// Flush implements Stage.
func (o *Overflows) Flush(time.Time, bool) []Event { return nil }

// lostSYN is the report that the listener would have made of n lost SYNs.
func (s Socket) lostSYN(e Event, n uint32) Event {
	e.Netns, e.PID, e.TID, e.Comm = s.About.Netns, s.PID, s.PID, s.Comm
	e.Body = Sock{
		Op: SockSynLost, Proto: "tcp", Local: s.Local, State: s.State, Backlog: s.Queue, Limit: s.Limit,
		Inode: uint64(s.Inode), Count: n,
	}
	return e
}
