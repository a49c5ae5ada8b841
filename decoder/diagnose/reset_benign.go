// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// benign reports whether a client reset its connection as it closed it, when nothing was left to be said: nothing is
// lost by that, and healthy nodes are full of it.
func benign(b event.Reset) bool {
	s := b.Sent
	if s == nil || service(b) != b.Connection.Dst || b.Cause == event.ResetKilled || b.Cause == event.ResetExited {
		return false
	}
	asked, answered, known := saidByThen(b)
	switch {
	case !known:
		return false
	case asked+answered == 0: // a health check
		return true
	case s.Trigger != nil:
		return answered > 0 && isCloseNotify(s.Trigger)
	}
	return b.Cause == event.ResetUnread && saidAll(b)
}

// saidByThen is how many bytes a client had sent and received when it closed. What is in TIME-WAIT keeps no count; there the
// server knows, what was too late included.
func saidByThen(b event.Reset) (asked, answered uint64, known bool) {
	switch s := b.Sent; {
	case b.Cause != event.ResetStale:
		return s.Sent, s.Received, true
	case s.State != "TIME_WAIT" || s.Trigger == nil || b.Received == nil:
		return 0, 0, false
	}
	late := uint64(b.Sent.Trigger.Len) // with its headers: no less than its payload
	return b.Received.Received, b.Received.Sent - min(b.Received.Sent, late), true
}

// isCloseNotify reports whether a packet carries no more than protocols say when all is said.
func isCloseNotify(p *packet.Packet) bool {
	return p.Len <= headers(p)+goodbye
}

// headers is how long those of a packet are, of IP, and of TCP with timestamps.
func headers(p *packet.Packet) uint32 {
	if p.Family == "ipv6" {
		return 40 + 32
	}
	return 20 + 32
}

// asBenign makes a finding that of all clients which close so: one is enough to read.
func asBenign(f *event.Finding, e event.Event, b event.Reset) {
	f.Subject = "clients that close"
	f.Pod, f.Peer, f.About = event.Pod{}, event.Pod{}, event.About{}
	f.Title = fmt.Sprintf("Clients reset connections that are complete, such as %s the one to %s: no data is lost.", from(e, b), to(e, b))
	f.Cause = "A socket that is closed with data unread, or that gets data after it was closed, answers with a reset instead of a FIN. " +
		"Here that was only a closing message (TLS's close_notify, a websocket's close frame), or no data at all, as with health checks."
	f.Remedy = []event.Remedy{run("ktrace reset").Noting("lists each of them; nothing needs to be done")}
}
