// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// DNSTruncated is the rule for truncated answers: the client must ask again over TCP (RFC 7766, section 5), and must be
// answered. It wants event.DNS, and hops and drops of TCP packets that begin or reset connections to the servers' ports.
type DNSTruncated struct {
	state *State
	open  map[ends]*truncated
	over  bounded.Map[ends, retried]
	tcp   bool // a TCP packet was seen: the capture has them
}

// ends are a client and its server, as the client knows it.
type ends struct {
	client netip.Addr
	server netip.AddrPort
}

// truncated is a truncated answer and what became of the query over TCP.
type truncated struct {
	event event.Event
	due   time.Time
	asked bool
	fate  string // of the connection, "" if no packet came back
}

// retried is the same query over TCP, and what became of it.
type retried struct {
	at    time.Time
	asked bool   // the query was sent over TCP: DNS reports its outcome
	fate  string // of the connection
}

const (
	retryWithin  = 2 * time.Second // for the connection that is to follow, and its answer
	maxTruncated = 1024            // remembered at a time
)

// NewDNSTruncated returns the rule; state must observe events before it.
func NewDNSTruncated(state *State) *DNSTruncated {
	return &DNSTruncated{state: state, open: map[ends]*truncated{}}
}

// Observe implements stage.Rule.
func (r *DNSTruncated) Observe(e event.Event) []event.Finding {
	switch b := e.Body.(type) {
	case event.DNS:
		r.lookup(e, b)
	case event.Hop:
		r.connection(e, b.Conntrack, "")
	case event.Drop:
		if b.Noise == "" {
			r.connection(e, b.Conntrack, fmt.Sprintf("dropped%s: %s in %s", event.At(e), b.Reason, b.Location))
		}
	}
	return nil
}

// lookup takes in a query with a truncated answer, or the same one over TCP. Their order depends on where the answers
// were seen.
func (r *DNSTruncated) lookup(e event.Event, d event.DNS) {
	k := ends{e.Packet.Src, d.Server}
	t := r.open[k]
	switch {
	case d.Retry:
		again := retried{e.Time, !d.Unsent, fateOf(d)}
		r.over.Put(k, again)
		if t != nil && again.asked {
			delete(r.open, k)
		} else if t != nil {
			t.asked, t.fate = true, again.fate
		}
	case d.Outcome == event.DNSTruncated && t == nil && len(r.open) < maxTruncated:
		again, ok := r.over.Get(k)
		if ok = ok && again.at.After(e.Time); ok && again.asked {
			return
		}
		r.open[k] = &truncated{event: e, due: e.Time.Add(d.Latency + retryWithin), asked: ok, fate: again.fate}
	}
}

// fateOf says what became of a connection, "" if no packet came back.
func fateOf(d event.DNS) string {
	switch {
	case d.Drop != nil:
		return fmt.Sprintf("dropped %v: %s in %s", d.Drop, d.Drop.Reason, d.Drop.Function)
	case d.ICMP != nil:
		return fmt.Sprintf("ICMP %s from %v", d.ICMP.Name, d.ICMP.From)
	case d.Connection != nil:
		return d.Connection.String()
	}
	return ""
}

// connection takes in a TCP packet at a device, or its drop.
func (r *DNSTruncated) connection(e event.Event, ct *event.Conntrack, lost string) {
	p := e.Packet
	if p == nil || p.Proto != "tcp" {
		return
	}
	r.tcp = true
	asks, answers := r.open[ends{p.Src, p.Destination()}], r.open[ends{p.Dst, p.Source()}]
	if ct.DNAT() { // behind the translation
		asks = r.open[ends{ct.Original.Src.Addr(), ct.Original.Dst}]
	}
	switch {
	case asks != nil && p.HasFlag('S') && lost != "":
		asks.asked, asks.fate = true, fmt.Sprintf("%v %s", p, lost)
	case asks != nil && p.HasFlag('S'):
		asks.asked = true
	case answers != nil && p.HasFlag('S') && p.HasFlag('.') && lost == "":
		delete(r.open, ends{p.Dst, p.Source()})
	case answers != nil && p.HasFlag('R'):
		answers.fate = fmt.Sprintf("%v: the server refused", p)
	}
}

// Flush implements stage.Rule.
func (r *DNSTruncated) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	for k, t := range r.open {
		if now.Before(t.due) {
			if final {
				delete(r.open, k) // the run ends before the timeout
			}
			continue
		}
		delete(r.open, k)
		if t.asked || r.tcp || r.state.node.Name != "" {
			found = append(found, t.finding(k))
		}
	}
	slices.SortFunc(found, func(a, b event.Finding) int { return a.First.Compare(b.First) })
	return found
}

func (t *truncated) finding(k ends) event.Finding {
	e, d := t.event, t.event.Body.(event.DNS)
	takes := "512 bytes, as the client sent no EDNS size"
	if d.EDNSSize > 0 {
		takes = fmt.Sprintf("%d bytes (EDNS)", d.EDNSSize)
	}
	f := event.Finding{
		Time: t.due, ID: "dns-truncated", Confidence: event.Likely, Subject: d.Server.String(),
		Title:    fmt.Sprintf("The answer to %s %s is too long for a datagram, and %v does not ask again over TCP.", d.Name, d.Type, k.client),
		Cause:    "The client takes the truncated answer as complete, or gives up: its resolver does not use TCP.",
		Evidence: []string{question(e, d), fmt.Sprintf("answered with the TC bit set in %d bytes; over UDP it takes %s", d.Size, takes)},
		Remedy: []event.Remedy{
			dig(d.Server, " +tcp", d.Name, d.Type).Noting("does the server answer over TCP?"),
			do("set options use-vc in resolv.conf, or use a resolver that knows EDNS and TCP"),
		},
		Count: 1, First: e.Time, Last: e.Time,
	}.Of(e)
	if t.asked {
		f.Confidence = event.Certain
		f.Title = fmt.Sprintf("The answer to %s %s is too long for a datagram, and over TCP %v does not answer.", d.Name, d.Type, server(d))
		f.Cause = "The client asks again over TCP, as it must; something keeps TCP from or to the server's port."
		f.Evidence = append(f.Evidence, "over TCP: "+orElse(t.fate, "no answer"))
	}
	return f
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
