package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder"
)

// TestClientsThatCloseWhenAllIsSaidAreOneFinding: and what is lost, or may be, is reported of each server.
func TestClientsThatCloseWhenAllIsSaidAreOneFinding(t *testing.T) {
	closed := func(s decoder.Sock) *decoder.Sock { s.Closing = true; return sent(s) }
	after := func(s decoder.Sock, length uint32) *decoder.Sock { s.Trigger = late(length).Trigger; return sent(s) }
	alert, answer := uint32(52+31), uint32(52+300)
	for _, c := range []struct {
		name  string
		reset decoder.Reset
		usual bool
	}{
		{"a good-bye after a kubelet's probe", decoder.Reset{Cause: decoder.ResetEarly, State: "CLOSE_WAIT", Sent: after(decoder.Sock{Sent: 1814, Received: 3666}, alert),
			Received: received(decoder.Sock{State: "CLOSE_WAIT", Idle: 4 * time.Millisecond})}, true},
		{"an answer that comes too late", decoder.Reset{Cause: decoder.ResetEarly, State: "CLOSE_WAIT", Sent: after(decoder.Sock{Sent: 1814, Received: 3666}, answer),
			Received: received(decoder.Sock{State: "CLOSE_WAIT"})}, false},
		{"a short one, the first", decoder.Reset{Cause: decoder.ResetEarly, State: "CLOSE_WAIT", Sent: after(decoder.Sock{Sent: 1814}, alert)}, false},
		{"a good-bye to what is in TIME-WAIT", decoder.Reset{Cause: decoder.ResetStale, State: "CLOSE_WAIT", Sent: after(decoder.Sock{State: "TIME_WAIT"}, alert),
			Received: received(decoder.Sock{State: "CLOSE_WAIT", Sent: 3690, Received: 1814})}, true},
		{"the first answer, to what is in TIME-WAIT", decoder.Reset{Cause: decoder.ResetStale, State: "CLOSE_WAIT", Sent: after(decoder.Sock{State: "TIME_WAIT"}, alert),
			Received: received(decoder.Sock{State: "CLOSE_WAIT", Sent: 31, Received: 1814})}, false},
		{"a server that is not here, and TIME-WAIT", decoder.Reset{Cause: decoder.ResetStale, Sent: after(decoder.Sock{State: "TIME_WAIT"}, alert)}, false},
		{"TIME-WAIT, and nothing that was answered", decoder.Reset{Cause: decoder.ResetStale, Sent: sent(decoder.Sock{State: "TIME_WAIT"}),
			Received: received(decoder.Sock{State: "CLOSE_WAIT", Sent: 3690})}, false},
		{"a connection that the client does not know", decoder.Reset{Cause: decoder.ResetStale, State: "CLOSE_WAIT", Sent: after(decoder.Sock{}, alert),
			Received: received(decoder.Sock{State: "CLOSE_WAIT", Sent: 3690, Received: 1814})}, false},
		{"a good-bye unread", decoder.Reset{Cause: decoder.ResetUnread, State: "FIN_WAIT1", Sent: closed(decoder.Sock{Unread: 85, Sent: 2721, Received: 2776}),
			Received: received(decoder.Sock{State: "FIN_WAIT1", Received: 2721})}, true},
		{"an answer unread", decoder.Reset{Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: closed(decoder.Sock{Unread: 2000, Sent: 2721, Received: 2776})}, false},
		{"a request that was on its way", decoder.Reset{Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: closed(decoder.Sock{Unread: 31, Sent: 2721, Received: 2776}),
			Received: received(decoder.Sock{State: "ESTABLISHED", Received: 1000})}, false},
		{"a health check", decoder.Reset{Cause: decoder.ResetLinger, State: "ESTABLISHED", Sent: closed(decoder.Sock{LingerNo: true})}, true},
		{"a health check of who greets first", decoder.Reset{Cause: decoder.ResetEarly, State: "CLOSE_WAIT", Sent: after(decoder.Sock{}, answer)}, true},
		{"killed before anything was said", decoder.Reset{Cause: decoder.ResetKilled, State: "ESTABLISHED", Sent: closed(decoder.Sock{Exiting: true, Signal: 9})}, false},
		{"a server that reads no good-bye", decoder.Reset{Cause: decoder.ResetUnread, State: "ESTABLISHED", Sent: closed(decoder.Sock{Unread: 31, Sent: 500, Received: 300}),
			Server: connection().Dst}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all decoder.Folder
			for _, server := range []string{"10.9.0.2:80", "10.9.0.3:443"} { // which a client connects to, or is reset by
				c.reset.Connection = decoder.FlowTuple{Src: connection().Dst, Dst: netip.MustParseAddrPort(server)}
				for _, f := range NewResets(NewState(), false).Observe(resetEvent(c.reset)) {
					all.Add(f)
				}
			}
			found := all.All()
			one := len(found) == 1 && found[0].Count == 2 && found[0].Severity == decoder.Info && len(found[0].Hits) == 2 && found[0].Hits[1].To == "10.9.0.3:443"
			if c.usual && !one || !c.usual && found[0].Subject == "clients that close" {
				t.Errorf("found %+v", found)
			}
		})
	}
}
