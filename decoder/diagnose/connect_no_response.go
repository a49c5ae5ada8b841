// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
)

// Connects reports attempts to connect that get no answer and that nothing else explains, and those for which no port is left.
// It wants event.Flow.
type Connects struct{ state *State }

// NewConnects returns the rule; state must observe events before it.
func NewConnects(state *State) *Connects { return &Connects{state} }

// Observe implements stage.Rule.
func (r *Connects) Observe(e event.Event) []event.Finding {
	f, ok := e.Body.(event.Flow)
	if !ok || f.TCP != nil || r.ofOthers(e, f) {
		return nil
	}
	found := r.noResponse
	if f.NoPort(e.Packet) {
		found = r.noPort
	}
	return []event.Finding{conclude(found(e, f), e)}
}

// Flush implements stage.Rule.
func (r *Connects) Flush(time.Time, bool) []event.Finding { return nil }

// ofOthers reports whether an attempt is another rule's, or no failure at all.
func (r *Connects) ofOthers(e event.Event, f event.Flow) bool {
	const dns = 53
	switch {
	case f.Server.Port() == dns || f.Asked().Port() == dns: // a query is made of it
		return true
	case f.Drop != nil, f.ICMP != nil, f.Overflowed:
		return true
	case f.Error != "" && f.Error != "ETIMEDOUT": // something answered
		return true
	}
	return f.OneSided
}

// noResponse is the finding. What was lost on its way beyond this node has no other trace than that nothing came back.
func (r *Connects) noResponse(e event.Event, f event.Flow) event.Finding {
	server := end(e.Peer, f.Asked())
	x := event.Finding{
		ID: "connect-no-response", Subject: f.Asked().String(), Confidence: event.Likely,
		Title:    fmt.Sprintf("%s does not answer connections.", server),
		Cause:    r.fate(f),
		Evidence: []string{attempted(e, f)},
		Remedy:   r.remedy(f),
	}
	if f.Error != "" && f.Last != nil && f.AnswerLast == nil {
		x.Confidence = event.Certain // the kernel gave up
	}
	if f.Last != nil {
		x.Evidence = append(x.Evidence, "last seen "+f.Last.String())
	}
	if f.AnswerLast != nil {
		x.Title = fmt.Sprintf("Answers of %s to connections do not reach the client.", server)
		x.Evidence = append(x.Evidence, "answer last seen "+f.AnswerLast.String())
	}
	if f.Answered > 0 {
		x.Title = fmt.Sprintf("%s does not answer some connections.", server)
		x.Evidence = append(x.Evidence, fmt.Sprintf("connections to %v that were answered meanwhile: %d; to %v that were not: %d", f.Server, f.Answered, f.Asked(), f.Unanswered))
	} else if f.HostAnswered > 0 {
		x.Evidence = append(x.Evidence, fmt.Sprintf("connections to other ports of %v that were answered meanwhile: %d", f.Asked().Addr(), f.HostAnswered))
	}
	x.Severity = connectSeverity(f)
	if why := harmless(f); why != "" {
		x.Severity, x.Evidence = event.Info, append(x.Evidence, why)
	}
	if f.AnswerLast == nil && f.Answered == 0 && f.HostAnswered == 0 {
		_, to := e.Ends()
		x = r.state.notMasqueraded(x, unanswered{e.Packet.Src, f.ClientNetns, f.Last, to})
	}
	return x
}

// remedy shows where SYNs end, and whether anything comes back.
func (r *Connects) remedy(f event.Flow) []event.Remedy {
	at := f.Asked()
	all := []event.Remedy{run("traceroute -nTp %v %v", at.Port(), at.Addr()).In(r.state.enter(f.ClientNetns)).Noting("where SYNs end")}
	if f.Last != nil && f.Last.Iface != "" {
		all = append(all, run("tcpdump -c 5 -ni %v host %v and tcp port %v", f.Last.Iface, f.Last.Flow.Dst.Addr(), f.Last.Flow.Dst.Port()).
			In(r.state.enter(f.Last.Netns)).Noting("whether anything comes back"))
	}
	return append(all, do("look whether the host of %v is up, and whether a firewall before it lets TCP port %d pass", at.Addr(), at.Port()))
}

// connectSeverity is how much an attempt without an answer matters.
func connectSeverity(f event.Flow) event.Severity {
	const enoughSYNs = 3
	if f.Local && f.Answered == 0 && (f.Error != "" || f.SYNs >= enoughSYNs) {
		return event.Critical
	}
	return event.Warning
}

// harmless says why it does not matter, "" if it may.
func harmless(f event.Flow) string {
	switch {
	case f.Elsewhere && f.Error == "": // RFC 8305
		return fmt.Sprintf("meanwhile the client connected to another address of port %d, and gave this one up", f.Server.Port())
	case f.PortsTried >= enoughPorts:
		return fmt.Sprintf("the client tries %d ports or more that do not answer: a port scan", f.PortsTried)
	}
	return ""
}

// fate says how far the SYN came.
func (r *Connects) fate(f event.Flow) string {
	switch {
	case f.AnswerLast != nil:
		return "The server's answer came to this node and was not seen to come back to where the connection began."
	case f.Last == nil:
		return "No SYN was seen at a device: it did not leave the client's socket, or the packets of the client are not watched."
	case f.Last.Direction == event.In:
		return "The SYN was last seen arriving, and nothing went back: who has the address does not take it."
	}
	const beyond = ": a firewall beyond takes it, or its answer, or the host is down."
	if f.Last.Carrier != nil {
		return "The SYN left in a tunnel's packet, and nothing came back" + beyond
	}
	return fmt.Sprintf("The SYN left by %s, and nothing came back%s", deviceOf(f.Last), beyond)
}

// deviceOf names the device where a packet was seen.
func deviceOf(s *event.Sight) string {
	if s.Iface == "" {
		return "a device without a name"
	}
	return fmt.Sprintf("%q", s.Iface)
}

// attempted says who tried, and what came of it, as evidence.
func attempted(e event.Event, f event.Flow) string {
	s := fmt.Sprintf("%s connect%s from %v to %v: %d SYNs in %s", e.Time.UTC().Format("15:04:05.000000"), by(e), e.Packet.Source(), f.Server, f.SYNs,
		f.Took.Round(time.Millisecond))
	switch {
	case f.Error != "":
		return s + ", then " + f.Error
	case f.State == event.FlowFailed:
		return s + ", then the application gave up"
	}
	return s + ", and it still waits"
}
