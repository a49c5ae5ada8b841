// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestClientsThatCloseWhenAllIsSaidAreOneFinding: and what is lost, or may be, is reported of each server.
func TestClientsThatCloseWhenAllIsSaidAreOneFinding(t *testing.T) {
	closed := func(s event.Sock) *event.Sock { s.Closing = true; return sent(s) }
	after := func(s event.Sock, length uint32) *event.Sock { s.Trigger = late(length).Trigger; return sent(s) }
	alert, answer := uint32(52+31), uint32(52+300)
	for _, c := range []struct {
		name  string
		reset event.Reset
		usual bool
	}{
		{"a good-bye after a kubelet's probe", event.Reset{Cause: event.ResetDataAfterExit, State: "CLOSE_WAIT", Sent: after(event.Sock{Sent: 1814, Received: 3666}, alert),
			Received: received(event.Sock{State: "CLOSE_WAIT", Idle: 4 * time.Millisecond})}, true},
		{"an answer that comes too late", event.Reset{Cause: event.ResetDataAfterExit, State: "CLOSE_WAIT", Sent: after(event.Sock{Sent: 1814, Received: 3666}, answer),
			Received: received(event.Sock{State: "CLOSE_WAIT"})}, false},
		{"a short one, the first", event.Reset{Cause: event.ResetDataAfterExit, State: "CLOSE_WAIT", Sent: after(event.Sock{Sent: 1814}, alert)}, false},
		{"a good-bye to what is in TIME-WAIT", event.Reset{Cause: event.ResetStale, State: "CLOSE_WAIT", Sent: after(event.Sock{State: "TIME_WAIT"}, alert),
			Received: received(event.Sock{State: "CLOSE_WAIT", Sent: 3690, Received: 1814})}, true},
		{"the first answer, to what is in TIME-WAIT", event.Reset{Cause: event.ResetStale, State: "CLOSE_WAIT", Sent: after(event.Sock{State: "TIME_WAIT"}, alert),
			Received: received(event.Sock{State: "CLOSE_WAIT", Sent: 31, Received: 1814})}, false},
		{"a server that is not here, and TIME-WAIT", event.Reset{Cause: event.ResetStale, Sent: after(event.Sock{State: "TIME_WAIT"}, alert)}, false},
		{"TIME-WAIT, and nothing that was answered", event.Reset{Cause: event.ResetStale, Sent: sent(event.Sock{State: "TIME_WAIT"}),
			Received: received(event.Sock{State: "CLOSE_WAIT", Sent: 3690})}, false},
		{"a connection that the client does not know", event.Reset{Cause: event.ResetStale, State: "CLOSE_WAIT", Sent: after(event.Sock{}, alert),
			Received: received(event.Sock{State: "CLOSE_WAIT", Sent: 3690, Received: 1814})}, false},
		{"a good-bye unread", event.Reset{Cause: event.ResetUnread, State: "FIN_WAIT1", Sent: closed(event.Sock{Unread: 85, Sent: 2721, Received: 2776}),
			Received: received(event.Sock{State: "FIN_WAIT1", Received: 2721})}, true},
		{"an answer unread", event.Reset{Cause: event.ResetUnread, State: "ESTABLISHED", Sent: closed(event.Sock{Unread: 2000, Sent: 2721, Received: 2776})}, false},
		{"a request that was on its way", event.Reset{Cause: event.ResetUnread, State: "ESTABLISHED", Sent: closed(event.Sock{Unread: 31, Sent: 2721, Received: 2776}),
			Received: received(event.Sock{State: "ESTABLISHED", Received: 1000})}, false},
		{"a health check", event.Reset{Cause: event.ResetLinger, State: "ESTABLISHED", Sent: closed(event.Sock{LingerNo: true})}, true},
		{"a health check of who greets first", event.Reset{Cause: event.ResetDataAfterExit, State: "CLOSE_WAIT", Sent: after(event.Sock{}, answer)}, true},
		{"killed before anything was said", event.Reset{Cause: event.ResetKilled, State: "ESTABLISHED", Sent: closed(event.Sock{Exiting: true, Signal: 9})}, false},
		{"a server that reads no good-bye", event.Reset{Cause: event.ResetUnread, State: "ESTABLISHED", Sent: closed(event.Sock{Unread: 31, Sent: 500, Received: 300}),
			Server: connection().Dst}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all event.Folder
			for _, server := range []string{"10.9.0.2:80", "10.9.0.3:443"} { // which a client connects to, or is reset by
				c.reset.Connection = packet.FlowTuple{Src: connection().Dst, Dst: netip.MustParseAddrPort(server)}
				for _, f := range NewResets(NewState(), false).Observe(resetEvent(c.reset)) {
					all.Add(f)
				}
			}
			found := all.All()
			one := len(found) == 1 && found[0].Count == 2 && found[0].Severity == event.Info && len(found[0].Hits) == 2 && found[0].Hits[1].To == "10.9.0.3:443"
			if c.usual && !one || !c.usual && found[0].Subject == "clients that close" {
				t.Errorf("found %+v", found)
			}
		})
	}
}
