// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// DNS reports why queries were not answered, or answered badly or late. It wants event.DNS, and drops as the stage
// of stage.NewDrops completes them.
type DNS struct {
	state      *State
	slow       slowServers
	served     bounded.Map[netip.AddrPort, dnsService] // what servers answered
	nonServers nonServers
	pending    []event.Event // queries that the kernel dropped, until the node has said why
}

// NewDNS returns the rule; answers that take longer than slow are reported. state must observe events before it.
func NewDNS(state *State, slow time.Duration) *DNS {
	return &DNS{state: state, slow: slowServers{limit: slow}}
}

// Observe implements stage.Rule.
func (r *DNS) Observe(e event.Event) []event.Finding {
	d, ok := e.Body.(event.DNS)
	if !ok {
		return nil
	}
	r.serves(d)
	r.slow.take(e, d)
	if d.Drop != nil && d.Outcome != event.DNSAnswered && len(r.pending) < maxDroppedQueries {
		r.pending = append(r.pending, e)
		return nil
	}
	return r.conclude(e, d)
}

// maxDroppedQueries is how many queries wait for what the node says of their drop. More are judged by what is known.
const maxDroppedQueries = 1 << 10

// Flush implements stage.Rule.
func (r *DNS) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	held := r.pending[:0]
	for _, e := range r.pending {
		d := e.Body.(event.DNS)
		if !final && r.state.awaitsFacts(d.Drop.Event, now.Sub(d.Drop.Time)) {
			held = append(held, e)
			continue
		}
		found = append(found, r.conclude(e, d)...)
	}
	clear(r.pending[len(held):])
	r.pending = held
	return append(found, r.slow.judge(now, final)...)
}

func (r *DNS) conclude(e event.Event, d event.DNS) []event.Finding {
	f, ok := r.judge(e, d)
	if !ok {
		return nil
	}
	f = conclude(f, e)
	f.Evidence = append([]string{question(e, d)}, f.Evidence...)
	return []event.Finding{f}
}

// judge returns the deepest cause: what was wrong on the way before what it led to.
func (r *DNS) judge(e event.Event, d event.DNS) (event.Finding, bool) {
	switch {
	case d.Outcome == event.DNSAnswered, d.Outcome == event.DNSUnknown && d.Rcode != "":
		return r.failed(d)
	case d.Outcome == event.DNSTruncated:
		return event.Finding{}, false // the client asks again over TCP
	case d.Retry && d.Unsent: // that is what the rule DNSTruncated is about
		return event.Finding{}, false
	}
	proved, ok := r.proved(d)
	if _, missed := r.missedTranslation(d); ok && (!missed || proved.ID == "service-no-endpoints") { // which has rules, to refuse and not to translate
		return proved, true
	}
	if f, ok := r.state.badResolvConf(d); ok {
		return f, true
	}
	if f, ok := r.notTranslated(e, d); ok {
		return f, true
	}
	if d.AnswerFrom != "" || d.AnswerTo != "" {
		return r.wrongAnswer(e, d), true
	}
	if ok {
		return proved, true
	}
	switch {
	case r.isPortScan(e, d), isTraceroute(e, d):
		return event.Finding{}, false
	case d.ICMP != nil:
		return r.state.atOwnAddress(queryRefused(d), d), true
	case notListened(d):
		return r.state.atOwnAddress(portClosed(d), d), true
	case d.Connection != nil:
		return r.connectionEnded(e, d)
	}
	if s, _ := r.served.Get(d.Server); d.Outcome == event.DNSUnknown && s.answered > 0 {
		return event.Finding{}, false // it answers others: that records were lost explains it
	}
	return r.noResponse(e, d)
}

// proved is what the drop of the query or of its answer proves.
func (r *DNS) proved(d event.DNS) (event.Finding, bool) {
	if d.Drop == nil {
		return event.Finding{}, false
	}
	return r.state.ProvesFailure(d.Drop.Event, d.Drop.Event.Body.(event.Drop))
}

// question says what was asked of whom, as evidence.
func question(e event.Event, d event.DNS) string {
	s := fmt.Sprintf("%s %s from %v to %v", e.Time.UTC().Format("15:04:05.000000"), wanted(d), e.Packet.Source(), d.Server)
	if d.Attempts > 1 {
		s += fmt.Sprintf(", attempt %d", d.Attempts)
	}
	return s
}

// wanted is what the client wants of the server.
func wanted(d event.DNS) string {
	switch {
	case d.Unsent:
		return "a connection over TCP"
	case d.Transport == "tcp":
		return d.Name + " " + d.Type + " over TCP"
	}
	return d.Name + " " + d.Type
}

// notTranslated reports a query to a service that went on, or died, as it came: the node's rules did not make a
// backend of the service.
func (r *DNS) notTranslated(e event.Event, d event.DNS) (event.Finding, bool) {
	where, missed := r.missedTranslation(d)
	if !missed {
		return event.Finding{}, false
	}
	p := *e.Packet
	p.Src, p.Sport, p.Dst, p.Dport = where.Flow.Src.Addr(), where.Flow.Src.Port(), where.Flow.Dst.Addr(), where.Flow.Dst.Port()
	e.Header = event.Header{Time: where.Time, Netns: where.Netns, Iface: where.Iface, Direction: where.Direction}
	e.Packet = &p
	return r.state.dnatMiss(e, where.Conntrack, "seen untranslated "+where.String())
}

// missedTranslation finds where the query was on its way untranslated although the rules had had their turn: leaving
// by a device of another namespace than its sender's, or with the mark that the rules were asked and had nothing. Those
// of a pod's own namespace are not meant for services.
func (r *DNS) missedTranslation(d event.DNS) (event.Sight, bool) {
	asked := func(s event.Sight) bool {
		return s.Conntrack.NATDone() && !s.Conntrack.DNAT() && (s.Netns != d.ClientNetns || r.state.translates(s.Netns))
	}
	for _, s := range d.Hops {
		switch {
		case s.Answer || s.Flow.Dst != d.Server || r.state.isLocal(s.Netns, d.Server.Addr()):
		case asked(s), s.Direction == event.Out && s.Netns != d.ClientNetns:
			return s, true
		}
	}
	if d.Drop != nil && !d.Drop.Answer && d.Drop.Flow.Dst == d.Server && !notListened(d) && asked(d.Drop.Sight) {
		return d.Drop.Sight, true
	}
	return event.Sight{}, false
}

// server is who should answer: the backend where it is known.
func server(d event.DNS) netip.AddrPort {
	if d.Backend.IsValid() {
		return d.Backend
	}
	return d.Server
}

func place(s *event.Sight) string {
	if s == nil {
		return "nowhere"
	}
	return s.String()
}

// digAgain asks the same again, with more options.
func digAgain(d event.DNS, options line) event.Remedy {
	if d.Transport == "tcp" {
		options = " +tcp" + options
	}
	return dig(d.Server, options, d.Name, d.Type)
}
