// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// DNSLoops is the rule for a DNS server that forwards to itself: its resolv.conf, or its forwarder, names a loopback
// address, or one of its own, where it listens. Every query that it cannot answer loops. A server beside a resolver that
// forwards, as systemd-resolved does on a node, makes one more query only.
type DNSLoops struct {
	state *State
	asked *bounded.Table[dnsLoopKey, *dnsLoop]
}

// dnsLoopKey is a question at a host.
type dnsLoopKey struct {
	netns      uint32
	name, kind string
}

// dnsLoop counts who asked it there within loopWithin.
type dnsLoop struct {
	began       time.Time
	own, others uint64
	waiting     []event.Event // of others, until it is known to be a loop
	asked       event.Event   // by another, the first
}

// A question loops if the server asked itself at least enoughOwn times, and ownByOthers times as often as others asked it,
// within loopWithin: a client that polls a resolver beside it is slower.
const (
	enoughOwn     = 10
	ownByOthers   = 5
	loopWithin    = 2 * time.Second
	maxDNSLoops   = 1024
	maxDNSWaiting = 16
)

// NewDNSLoops returns the rule; state must observe events before it.
func NewDNSLoops(state *State) *DNSLoops {
	return &DNSLoops{state: state, asked: bounded.NewTable[dnsLoopKey, *dnsLoop](maxDNSLoops)}
}

// Observe implements stage.Rule.
func (r *DNSLoops) Observe(e event.Event) []event.Finding {
	d, ok := e.Body.(event.DNS)
	if !ok || e.Packet == nil {
		return nil
	}
	to := server(d).Addr()
	key := dnsLoopKey{d.ClientNetns, strings.ToLower(d.Name), d.Type}
	if to.IsLoopback() || r.state.owns(d.ClientNetns, to) {
		if !goesRound(d) {
			return nil
		}
		l := r.loopOf(key, e)
		l.own++
		if !l.closed() {
			return nil
		}
		all := append(l.waiting, e)
		l.waiting = nil
		return r.found(key, l, all)
	}
	if d.Last == nil || d.Last.Netns == d.ClientNetns || d.Last.Direction != event.In { // it was not delivered to a server there
		return nil
	}
	key.netns = d.Last.Netns
	l := r.loopOf(key, e)
	if l.others++; l.others == 1 {
		l.asked = e
	}
	if l.closed() {
		return r.found(key, l, []event.Event{e})
	}
	if len(l.waiting) < maxDNSWaiting {
		l.waiting = append(l.waiting, e)
	}
	return nil
}

// Flush implements stage.Rule.
func (r *DNSLoops) Flush(time.Time, bool) []event.Finding { return nil }

// goesRound reports whether the query may be in a loop: a server received it and did not know the answer.
func goesRound(d event.DNS) bool {
	return d.Outcome == event.DNSNoResponse || d.Outcome == event.DNSAnswered && (d.Rcode == "SERVFAIL" || d.Rcode == "REFUSED")
}

func (r *DNSLoops) loopOf(key dnsLoopKey, e event.Event) *dnsLoop {
	l, known := r.asked.Get(key)
	if !known || e.Time.Sub(l.began).Abs() > loopWithin {
		l = &dnsLoop{began: e.Time}
		r.asked.Put(event.OwnerOf(e), key, l, 1)
	}
	return l
}

// closed reports whether the question loops.
func (l *dnsLoop) closed() bool {
	return l.others > 0 && l.own >= enoughOwn && l.own >= ownByOthers*l.others
}

// found is the finding for each of the queries.
func (r *DNSLoops) found(key dnsLoopKey, l *dnsLoop, queries []event.Event) []event.Finding {
	f := event.Finding{
		ID: "dns-bad-resolv-conf", Confidence: event.Certain, Subject: fmt.Sprintf("resolv.conf in netns %d", key.netns),
		Title: fmt.Sprintf("The DNS server in netns %d forwards to itself: queries that it cannot answer loop.", key.netns),
		Cause: "It forwards to a loopback address, or one of its own, and listens there itself: a node's resolv.conf that names systemd-resolved's 127.0.0.53 " +
			"was given to the pod, or a forwarder names the server. Clients wait, or are answered SERVFAIL.",
		Evidence: []string{fmt.Sprintf("others asked it for %s %s %d times, and it asked itself %d times", key.name, key.kind, l.others, l.own)},
		Remedy: []event.Remedy{
			catResolvConf(key.netns).Noting("the server's nameservers"),
			run("kubectl -n kube-system get configmap coredns -o yaml").Noting("where it forwards to"),
			kubeletResolvConf(),
			do("let the server forward to a resolver outside"),
		},
	}
	if conf, ok := r.state.resolvs.Get(key.netns); ok {
		f.Evidence = append(f.Evidence, "the nameservers of its resolv.conf: "+list(conf.Nameservers))
	}
	all := make([]event.Finding, 0, len(queries))
	for _, e := range queries {
		x := f.Of(l.asked) // a loopback address names no host
		x.Traffic = []event.Traffic{trafficOf(l.asked), trafficOf(e)}
		x.Evidence = append(slices.Clone(f.Evidence), question(e, e.Body.(event.DNS)))
		x.Time, x.First, x.Last, x.Count = e.Time, e.Time, e.Time, 1
		all = append(all, x)
	}
	return all
}

// trafficOf is what an event is about, for rules that compare findings.
func trafficOf(e event.Event) event.Traffic {
	a := event.AboutEvent(e)
	return event.Traffic{Proto: a.Proto, Clients: a.Clients, Servers: a.Servers, First: e.Time, Last: e.Time}
}
