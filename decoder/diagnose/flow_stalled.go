// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/event"
)

// stalled is a connection whose receiver's window is zero: its process does not read.
func (r *Flows) stalled(e event.Event, f event.Flow) event.Finding {
	t, local := f.TCP, f.TCP.Stalls()
	sender, receiver := end(e.Pod, e.Packet.Source()), end(e.Peer, e.Packet.Destination())
	at, long := e.Packet.Destination(), t.Quiet
	if local {
		sender, receiver = receiver, sender
		at, long = e.Packet.Source(), t.Silent
	}
	x := event.Finding{
		ID: "receiver-stalled", Subject: stalledEnd(f, at).String(), Confidence: event.Certain,
		Title:    fmt.Sprintf("%s does not read what %s sends: its window has been zero for %v.", receiver, sender, long.Round(100*time.Millisecond)),
		Cause:    "The receiver's socket buffer is full because its process does not read; the sender's TCP may send nothing but window probes, and its process blocks.",
		Evidence: []string{ofFlow(e, f)},
		Remedy:   []event.Remedy{r.socketOf(e, "Recv-Q is what is not read, Send-Q what waits")},
	}
	if local {
		x.Evidence = append(x.Evidence, fmt.Sprintf("%d bytes received and not read, the window is zero, the last data came %v before", t.Unread, long.Round(time.Millisecond)))
		if e.PID != 0 {
			x.Evidence = append(x.Evidence, "the socket is of process "+e.Process().String())
			x.Title = fmt.Sprintf("%v of %s does not read what %s sends: its window has been zero for %v.", e.Process(), receiver, sender, long.Round(100*time.Millisecond))
			x.Remedy = append(x.Remedy, run("cat /proc/%v/stack", e.PID).Noting("what it waits for"))
		}
	} else {
		x.Evidence = append(x.Evidence, fmt.Sprintf("%d bytes wait, the peer's window is %d bytes, the last data was sent %v before", t.Unsent, t.PeerWindow,
			long.Round(time.Millisecond)))
	}
	x.Remedy = append(x.Remedy, do("find what holds the receiver's process up: a lock, a full disk, a consumer behind it, too little CPU"))
	return x
}

// stalledEnd is the end that does not read: of a client without its port, which differs each time.
func stalledEnd(f event.Flow, at netip.AddrPort) netip.AddrPort {
	if at == f.Server {
		return at
	}
	return netip.AddrPortFrom(at.Addr(), 0)
}
