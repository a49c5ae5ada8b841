// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// DNSLookups is the rule about lookups: what a resolver makes of one name, a query with each search domain and one for
// the name as it is. It reports names that do not exist with any of them (dns-nxdomain) and names that took many queries
// (dns-search-amplification). It wants event.DNS; state must observe events before it.
type DNSLookups struct {
	state *State
	open  *bounded.Table[lookupKey, *lookup]
}

type lookupKey struct {
	netns  uint32
	client netip.Addr
	base   string
}

// lookup is what is known of one lookup.
type lookup struct {
	key        lookupKey
	conf       event.ResolvConf
	first      event.Event
	last       time.Time
	names      []string         // answered NXDOMAIN, in the order in which they were tried
	empty      []string         // answered NODATA for the type that was asked for
	asked      []string         // name and type of the queries for either
	nxdomain   int              // of these, the number answered NXDOMAIN
	found      string           // the name that has an address
	reasons    []event.DNSError // extended errors of these answers
	forA       bool             // IPv4 addresses were asked for, which nearly all names have
	unanswered []string         // name and type of the queries without a complete answer so far
}

const (
	lookupIdle = 2 * time.Second // without a query: then a lookup with no query left is complete
	retryIdle  = 7 * time.Second // for others: resolvers retransmit after 5 s
	maxLookups = 2048
	maxQueries = 64 // of one lookup
	maxReasons = 4  // of one lookup
	amplified  = 3  // failed queries before the answer: a pod's search list
)

// NewDNSLookups returns the rule.
func NewDNSLookups(state *State) *DNSLookups {
	return &DNSLookups{state: state, open: bounded.NewTable[lookupKey, *lookup](maxLookups)}
}

// Observe implements stage.Rule.
func (r *DNSLookups) Observe(e event.Event) []event.Finding {
	d, ok := e.Body.(event.DNS)
	if !ok || !forAddress(d) {
		return nil
	}
	conf, _ := r.state.resolvs.Get(d.ClientNetns)
	if len(conf.Search) == 0 {
		return nil
	}
	k := r.key(e, d, conf)
	l, known := r.open.Get(k)
	var found []event.Finding
	if known && !answers(d) && l.has(d) {
		return nil // a retransmission of one that is answered
	}
	if known && l.repeats(d) {
		found, known = l.judge(e.Time), false
	}
	if !known {
		l = &lookup{key: k, conf: conf, first: e}
		r.open.Put(bounded.Owner{Netns: k.netns, Addr: k.client}, k, l, 1)
	}
	l.take(e, d)
	return found
}

// forAddress reports whether the query is for the address of a host, and not for an entry of a block list.
func forAddress(d event.DNS) bool { return (d.Type == "A" || d.Type == "AAAA") && !asksList(d.Name) }

// asksList reports whether a name begins with an address, as in a mail server's query to a block list (RFC 5782): that
// it does not exist is the good answer.
func asksList(name string) bool {
	const v4, v6 = 4, 32
	labels := strings.Split(name, ".")
	number := func(base, most int) func(string) bool {
		return func(s string) bool {
			n, err := strconv.ParseUint(s, base, 16)
			return err != nil || n > uint64(most)
		}
	}
	return len(labels) > v4+1 && !slices.ContainsFunc(labels[:v4], number(10, 255)) ||
		len(labels) > v6+1 && !slices.ContainsFunc(labels[:v6], number(16, 15))
}

// key returns the lookup that a query belongs to: an open one of that very name, or that of the name without its search
// domain.
func (r *DNSLookups) key(e event.Event, d event.DNS, conf event.ResolvConf) lookupKey {
	k := lookupKey{d.ClientNetns, e.Packet.Src, d.Name}
	if _, open := r.open.Get(k); !open {
		k.base, _ = conf.Base(d.Name)
	}
	return k
}

// repeats reports whether the query begins the same lookup again.
func (l *lookup) repeats(d event.DNS) bool {
	return l.has(d) || len(l.asked)+len(l.unanswered) >= maxQueries
}

// has reports whether the query was answered in this lookup without an address.
func (l *lookup) has(d event.DNS) bool { return slices.Contains(l.asked, d.Name+" "+d.Type) }

// answers reports whether a complete answer says that the name exists, or that it does not.
func answers(d event.DNS) bool {
	return d.Outcome == event.DNSAnswered && (d.Rcode == "NXDOMAIN" || d.Rcode == "NOERROR")
}

func (l *lookup) take(e event.Event, d event.DNS) {
	l.last = e.Time
	asked := d.Name + " " + d.Type
	l.unanswered = slices.DeleteFunc(l.unanswered, func(s string) bool { return s == asked })
	l.forA = l.forA || d.Type == "A"
	switch {
	case !answers(d):
		l.unanswered = append(l.unanswered, asked)
	case d.Rcode == "NXDOMAIN":
		l.nxdomain++
		l.names = l.miss(l.names, d)
	case d.NoData:
		l.empty = l.miss(l.empty, d)
	default:
		l.found = d.Name
	}
}

// miss takes in an answer without an address, and adds its name to those of its kind.
func (l *lookup) miss(names []string, d event.DNS) []string {
	l.asked = append(l.asked, d.Name+" "+d.Type)
	for _, e := range d.Errors {
		if len(l.reasons) < maxReasons && !slices.Contains(l.reasons, e) {
			l.reasons = append(l.reasons, e)
		}
	}
	if slices.Contains(names, d.Name) {
		return names
	}
	return append(names, d.Name)
}

// Flush implements stage.Rule: it judges the lookups that are over, oldest first. Of those that the run's end cuts off
// it is not known what would have come.
func (r *DNSLookups) Flush(now time.Time, final bool) []event.Finding {
	var over []*lookup
	for k, l := range r.open.All() {
		rests := now.Sub(l.last)
		if rests >= retryIdle || (final || rests >= lookupIdle) && l.complete() {
			over = append(over, l)
			r.open.Delete(k)
		}
	}
	slices.SortFunc(over, func(a, b *lookup) int { return a.first.Time.Compare(b.first.Time) })
	var found []event.Finding
	for _, l := range over {
		found = append(found, l.judge(now)...)
	}
	return found
}

// Summarize implements event.Summarizer.
func (r *DNSLookups) Summarize(s *event.Summary) { s.AddEvicted("DNS lookups", r.open.Evicted()) }

// complete reports whether the resolver has no query left to send.
func (l *lookup) complete() bool { return l.found != "" || l.triedAll() && len(l.unanswered) == 0 }

// judge concludes from a complete lookup.
func (l *lookup) judge(now time.Time) []event.Finding {
	var f event.Finding
	switch {
	case l.found == "" && len(l.unanswered) == 0 && l.triedAll() && (len(l.empty) == 0 || l.forA):
		f = l.nowhere()
	case l.found == "" && len(l.unanswered) == 0 && l.forA && l.stoppedEarly():
		f = l.noAddress()
	case l.found != "" && len(l.names) >= amplified:
		f = l.amplified()
	default:
		return nil
	}
	d := l.first.Body.(event.DNS)
	f = f.Of(l.first)
	f.Time, f.First, f.Last, f.Count, f.Subject = now, l.first.Time, l.last, 1, l.key.base
	var said []string
	if l.nxdomain > 0 {
		said = append(said, fmt.Sprintf("%s %d queries answered NXDOMAIN by %v: %s", l.first.Time.UTC().Format("15:04:05.000000"), l.nxdomain, d.Server, strings.Join(l.names, ", ")))
	}
	if l.found == "" && len(l.empty) > 0 {
		said = append(said, fmt.Sprintf("answered NOERROR without an address (NODATA) by %v: %s", d.Server, strings.Join(l.empty, ", ")))
	}
	said = append(said, fmt.Sprintf("resolv.conf in netns %d: search %s, ndots:%d", l.key.netns, orElse(strings.Join(l.conf.Search, " "), "none"), l.conf.Ndots))
	f.Evidence = slices.Concat(said, f.Evidence, reasonsGiven(l.reasons))
	if l.found == "" {
		l.explain(&f)
	}
	return []event.Finding{f}
}

// triedAll reports whether the resolver tried every search domain, and the name as it is.
func (l *lookup) triedAll() bool {
	return len(l.names)+len(l.empty) > len(l.conf.Search) && (slices.Contains(l.names, l.key.base) || slices.Contains(l.empty, l.key.base))
}

// stoppedEarly reports whether the resolver stopped at a search domain with NODATA, as musl's does; glibc's goes on.
func (l *lookup) stoppedEarly() bool {
	return len(l.empty) == 1 && l.empty[0] != l.key.base && strings.HasPrefix(l.asked[len(l.asked)-1], l.empty[0]+" ")
}

// How a program or its pod asks for a name itself first.
const (
	wholeName = "write the name with a dot at its end"
	fewerDots = `or set ndots for the pod: spec.dnsConfig.options: [{name: ndots, value: "1"}]`
)
