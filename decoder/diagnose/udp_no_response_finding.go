// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"encoding/binary"
	"fmt"
	"time"

	"ktrace/decoder/event"
)

const (
	askedAgain      = 3 // datagrams without an answer, from one socket
	askedBesides    = 2 // of them, where the server answers other sockets
	manyUnanswered  = 8 // exchanges of one client: it looks for peers, or for hosts
	keptAliveAtMost = 5 // datagrams to a peer that answered before: it may have left
)

// judge concludes from an exchange, if its sender had reason to expect answers.
func (r *Datagrams) judge(x *udpExchange, lost []datagramSent) (event.Finding, bool) {
	served, _ := r.served.Get(x.server())
	if served == 0 && x.server() != x.asked {
		served, _ = r.served.Get(x.asked)
	}
	if f, ok := r.hole(x, lost); ok {
		return f, true
	}
	enough := askedAgain
	switch {
	case x.answers > 0:
		enough = keptAliveAtMost
	case served > 0:
		enough = askedBesides
	}
	if len(lost) < enough || r.ofOthers(x) {
		return event.Finding{}, false
	}
	n, _ := r.silent.Get(x.flow().Src.Addr())
	r.silent.Put(x.flow().Src.Addr(), n+1)
	return r.noResponse(x, lost, served), true
}

// ofOthers reports whether an exchange is another rule's, or nothing that is answered.
func (r *Datagrams) ofOthers(x *udpExchange) bool {
	p := x.first.Packet
	_, overlay := overlays()[x.server().Port()]
	return overlay || x.server().Port() == dnsPort || asksDNS(p.Transport()) || r.state.effects.isTraceroute(x.first)
}

// noResponse is the finding. What was lost on its way beyond this node has no other trace than that nothing came back.
func (r *Datagrams) noResponse(x *udpExchange, lost []datagramSent, served int) event.Finding {
	server, e := x.server(), x.first
	f := event.Finding{
		ID: "udp-no-response", Subject: server.String(), Confidence: event.Likely, Severity: event.Warning,
		Title: fmt.Sprintf("%s does not answer datagrams.", end(e.Peer, server)),
		Cause: r.udpFate(x),
		Evidence: []string{fmt.Sprintf("%s datagrams%s from %v to %v: %d in %v without an answer, at intervals of %v and more",
			lost[0].at.UTC().Format("15:04:05.000000"), by(e), e.Packet.Source(), x.asked, len(lost), lost[len(lost)-1].at.Sub(lost[0].at).Round(time.Millisecond), shortestPause(lost))},
		Remedy: []event.Remedy{
			run("ss -lunp sport = :%v", server.Port()).Noting("on %v: whether a process has the port, and Recv-Q", server.Addr()),
		},
	}
	if x.last.Iface != "" {
		f.Evidence = append(f.Evidence, "last seen "+x.last.String())
		f.Remedy = append(f.Remedy, run("tcpdump -c 5 -ni %v host %v and udp port %v", x.last.Iface, x.last.Flow.Dst.Addr(), x.last.Flow.Dst.Port()).
			In(r.state.enter(x.last.Netns)).Noting("whether anything comes back"))
	}
	f.Remedy = append(f.Remedy, do("look whether the host of %v is up, and whether a firewall before it lets UDP port %d pass", server.Addr(), server.Port()))
	switch {
	case x.answers > 0:
		f.Title = fmt.Sprintf("%s has ceased to answer datagrams.", end(e.Peer, server))
		f.Evidence = append(f.Evidence, fmt.Sprintf("it answered the same socket %d times before", x.answers))
	case served > 0:
		f.Title = fmt.Sprintf("%s does not answer some datagrams.", end(e.Peer, server))
		f.Evidence = append(f.Evidence, fmt.Sprintf("other sockets that %v answered: %d", x.asked, served))
	}
	if why := r.harmless(x); why != "" {
		f.Severity, f.Evidence = event.Info, append(f.Evidence, why)
	}
	if x.answers == 0 && served == 0 {
		_, to := e.Ends()
		f = r.state.notMasqueraded(f, unanswered{e.Packet.Src, e.Netns, x.last, to})
	}
	f = conclude(f, e)
	f.Time, f.First, f.Last = lost[len(lost)-1].at, lost[0].at, lost[len(lost)-1].at
	return f
}

// harmless says why it does not matter that there is no answer, "" if it may.
func (r *Datagrams) harmless(x *udpExchange) string {
	p := x.first.Packet
	n, _ := r.silent.Get(p.Src)
	_, reached := r.reached.Get(p.Src)
	switch what := withoutAnswers(x.asked.Port(), p.Transport()); {
	case what != "":
		return what + " has no answers"
	case isNTP(x.asked.Port()):
		return "clients of NTP ask several servers, and use those that answer"
	case isQUIC(p.Transport()):
		return "clients of QUIC fall back to TCP"
	case x.captured() && !reached:
		return fmt.Sprintf("the capture has no packet for %v: its answers may have taken another path", p.Src)
	case n >= manyUnanswered:
		return fmt.Sprintf("%v asks %d servers or more that do not answer: it looks for peers, or scans", p.Src, n)
	}
	return ""
}

// udpFate says how far the latest datagram came.
func (r *Datagrams) udpFate(x *udpExchange) string {
	switch {
	case x.captured():
		return "The capture has no answer: a firewall takes the datagrams, or the answers, or the host is down, or does not answer."
	case x.last.Direction == event.In:
		return "The datagram was last seen arriving, and nothing went back: the process there does not read, or does not answer."
	case x.last.Carrier != nil:
		return "The datagram left in a tunnel's packet, and nothing came back: a firewall beyond takes it, or the host is down, or does not answer."
	}
	return fmt.Sprintf("The datagram left by %s, and nothing came back: a firewall beyond takes it, or its answer, or the host is down, or does not answer.", deviceOf(x.last))
}

// shortestPause is between two of several datagrams.
func shortestPause(sent []datagramSent) time.Duration {
	least := retryLongest
	for i := 1; i < len(sent); i++ {
		least = min(least, sent[i].at.Sub(sent[i-1].at))
	}
	return least.Round(time.Millisecond)
}

// isNTP reports whether a port is NTP's.
func isNTP(port uint16) bool { return port == 123 }

// isQUIC reports whether a datagram begins a connection of QUIC: a long header (RFC 9000, 17.2), and as long as the first must be.
func isQUIC(b []byte) bool {
	const long, first = 0xc0, 400
	if len(b) < first || b[0]&long != long {
		return false
	}
	version := binary.BigEndian.Uint32(b[1:])
	return version == 1 || version == 0x6b3343cf // RFC 9369
}
