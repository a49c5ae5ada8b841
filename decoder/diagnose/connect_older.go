// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	"ktrace/decoder/event"
)

// older concludes from a client whose SYN was answered with an acknowledgement: the other end takes it for a packet of an
// earlier connection. The client resets that, and its next SYN begins the new one, unless the reset does not count.
func older(e event.Event, b event.Reset, f *event.Finding) {
	server := b.Connection.Dst
	if b.Backend.IsValid() {
		server = b.Backend
	}
	f.ID, f.Subject, f.Confidence = "connect-no-response", server.String(), event.Likely
	hits(f, e, b, b.Connection.Dst)
	f.Title = fmt.Sprintf("%s cannot connect to %s at once: the server still has an older connection of the same ports, and takes the SYN for one of its packets.",
		end(e.Peer, b.Connection.Src), end(e.Pod, b.Connection.Dst))
	f.Cause = "The older connection is in TIME-WAIT or half open, and the SYN is not newer than it by its timestamp (PAWS, RFC 7323) or sequence number: " +
		"clients share an address behind source translation, or one was restarted or cloned. " +
		"The client resets the older connection and tries again a second later."
	f.Evidence = append(f.Evidence, "the client's socket was in SYN_SENT and got an acknowledgement of what it had not sent")
	f.Remedy = []event.Remedy{
		run("nstat -az TcpExtPAWSTimewait TcpExtTCPACKSkippedTimeWait").Noting("on the server's host: whether it is TIME-WAIT"),
		run("sysctl net.ipv4.tcp_rfc1337").Noting("on the server's host: with 1 the client's reset does not end TIME-WAIT, and it must wait a minute"),
		pipe(run(forFamily(server.Addr(), "iptables -t nat -S")), run("grep -e SNAT -e MASQUERADE")).Noting("clients behind one address: add --random-fully"),
	}
}
