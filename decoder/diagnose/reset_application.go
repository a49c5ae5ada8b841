// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
)

func byApplication(e event.Event, b event.Reset, f *event.Finding) {
	s := b.Sent
	who := from(e, b)
	if e.PID != 0 && s.Closing {
		who = fmt.Sprintf("%v of %s", e.Process(), who)
		f.Evidence = append(f.Evidence, fmt.Sprintf("process %v", e.Process()))
	}
	f.ID, f.Subject = "reset-by-application", fmt.Sprintf("%s %v", b.Cause, service(b))
	f.Title = fmt.Sprintf("%s %s, which reset its connection to %s.", who, closeAction(*s, b.Cause), to(e, b))
	cause, remedy := applicationCause(b.Cause)
	f.Cause, f.Remedy = cause, slices.Insert(remedy, 0, logsOf(e))
	if s.Unread > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%d bytes received and not read", s.Unread))
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("%d bytes sent, %d received before", s.Sent, s.Received))
	if !hurts(b) {
		f.Severity = event.Info
	}
}

// service is the end that stays the same from connection to connection: the one that was connected to, or, where that
// was not seen, the one with the lower port.
func service(b event.Reset) netip.AddrPort {
	if b.Server.IsValid() {
		return b.Server
	}
	if b.Cause == event.ResetRefused || b.Connection.Src.Port() <= b.Connection.Dst.Port() {
		return b.Connection.Src
	}
	return b.Connection.Dst
}

// closeAction says what the process did, to follow its name.
func closeAction(s event.Sock, c event.ResetCause) string {
	switch c {
	case event.ResetUnread:
		return fmt.Sprintf("closed the socket with %d bytes unread", s.Unread)
	case event.ResetDataAfterExit:
		return "got data after it had closed the socket"
	case event.ResetLinger:
		return "closed the socket with SO_LINGER of time 0"
	case event.ResetKilled:
		return fmt.Sprintf("was killed by signal %d with the connection open", s.Signal)
	case event.ResetExited:
		return "ended with the connection open"
	}
	return "disconnected the socket"
}

// applicationCause is the mechanism and what to do.
func applicationCause(c event.ResetCause) (string, []event.Remedy) {
	switch c {
	case event.ResetUnread:
		return "A socket that is closed with received data unread answers with a reset instead of a FIN (RFC 2525, 2.17); what was on its way to the other end may be lost.",
			[]event.Remedy{do("let the process read to the end, or call shutdown and read until end of file, before it closes")}
	case event.ResetDataAfterExit:
		return "The process had closed its end while the other still sent.",
			[]event.Remedy{do("agree on who closes first: a server's keep-alive timeout should be longer than its clients'")}
	case event.ResetLinger:
		return "SO_LINGER with time 0 makes close send a reset and throw away what was not sent.",
			[]event.Remedy{do("remove SO_LINGER from the program, or accept that its connections end in a reset")}
	case event.ResetKilled, event.ResetExited:
		return "The kernel closed what the process had left open; data was unread, so it sent a reset.",
			[]event.Remedy{run("journalctl -k -g %v", "killed process|segfault"), run("kubectl get events -A --field-selector type=Warning")}
	}
	return "The process disconnected the socket, or closed a listener before it accepted the connection.",
		nil
}

// logsOf shows what the process that sent a reset logs at that time.
func logsOf(e event.Event) event.Remedy {
	const before = 10 * time.Second
	since := e.Time.UTC().Add(-before)
	switch {
	case e.Peer.Name != "":
		return run("kubectl -n %v logs %v --all-containers --timestamps --since-time=%v", e.Peer.Namespace, e.Peer.Name, since.Format(time.RFC3339))
	case e.PID != 0:
		return run("journalctl _PID=%v --since %v", e.PID, since.Format(time.DateTime+" UTC"))
	}
	return run("journalctl --since %v", since.Format(time.DateTime+" UTC")).Noting("on the host of the process")
}

// closing are the states of an end that has sent its FIN: unless it waits for an answer, it lost nothing.
var closing = []string{"FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "TIME_WAIT", "CLOSE"}

const (
	// goodbye is the most that protocols say when all is said, in bytes: an alert of TLS, the close frame of a websocket.
	goodbye = 64
	// farewells are the same for a connection that carried several streams, each of which is closed, as kubectl exec's
	// does (SPDY, websocket): 302 bytes were seen after 4145. They are a small part of what was said before.
	farewells, farewellShare = 1024, 8
)

// hurts reports whether the reset took something away. A client that closes with data unread wants no more of it, as after a
// TLS server's good-bye; a server's client waits for an answer, which its reset may overtake.
func hurts(b event.Reset) bool {
	s := b.Sent
	asked := map[int]bool{1: true, 2: true, 15: true} // SIGHUP, SIGINT, SIGTERM
	const pipe = 13                                   // SIGPIPE: who was to read what a program writes has enough of it
	if service(b) != b.Connection.Src {
		asked[pipe] = true
	}
	switch {
	case b.Cause == event.ResetDataAfterExit && b.State == "CLOSE_WAIT":
		return serverOwedReply(b)
	case b.Cause == event.ResetUnread && receiverOpen(b):
		return service(b) == b.Connection.Src && !saidAll(b)
	case contains(closing, b.State), s.State == "CLOSE_WAIT":
		return false
	case s.Sent+s.Received == 0:
		return false
	case b.Cause == event.ResetUnread:
		return service(b) == b.Connection.Src && !saidAll(b)
	case b.Cause == event.ResetExited, b.Cause == event.ResetDataAfterExit, b.Cause == event.ResetDisconnected:
		return false
	}
	return b.Cause != event.ResetKilled || !asked[s.Signal]
}

// receiverOpen reports whether a process still holds the end that was reset: if that has sent its FIN, it was by shutdown, to say
// that all is said, and it waits for the answer.
func receiverOpen(b event.Reset) bool { return b.Received != nil && b.Received.Inode != 0 }

// saidAll reports whether a stream was at its end when it was closed: what was not read is no more than a good-bye after
// what was, and the other end had all that it was sent.
func saidAll(b event.Reset) bool {
	s := b.Sent
	unread := uint64(s.Unread)
	little := unread <= goodbye && unread < s.Received || unread <= farewells && farewellShare*unread <= s.Received
	return little && s.Sent > 0 && (b.Received == nil || b.Received.Received >= s.Sent)
}

// serverOwedReply reports whether a client waited for an answer when its server's kernel reset the connection that the server had
// closed: it had sent more than a good-bye, or sent something and did not close its end in time.
func serverOwedReply(b event.Reset) bool {
	t := b.Sent.Trigger
	if t == nil || b.Received == nil || service(b) != b.Connection.Src {
		return false
	}
	return t.Len > headers(t) && (!isCloseNotify(t) || b.Received.Idle > answerWithin/2)
}
