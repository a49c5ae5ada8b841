// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/fio"
)

// slowServers judges servers by the share of their answers that was slow. A single one is no fault: a packet was lost,
// or the machine was busy for a moment. An answer that waited for another server's counts as that one's.
type slowServers struct {
	limit   time.Duration
	servers bounded.Map[netip.AddrPort, *serverTimes]
	lately  []*slowQuery // in the order in which they were found to be slow
	due     time.Time    // when to judge, zero if there is nothing to
}

// serverTimes are the answer times of a server.
type serverTimes struct {
	began    time.Time
	all      fio.Histogram
	slow     []*slowQuery // its slow answers
	behind   []*slowQuery // answers of other servers that waited for them
	reported int          // number of both that is reported
}

// slowQuery is a query with a slow answer, or none.
type slowQuery struct {
	event  event.Event
	dns    event.DNS
	end    time.Time // when it was answered, zero if it was not
	judged bool
	waited *slowQuery // what it waited for, nil if that is not known
}

const (
	paceEvery  = 5 * time.Second // as long as resolvers wait: by then it is known what an answer waited for
	paceWithin = time.Minute     // older answers are forgotten
	maxLately  = 2048
	maxSlow    = 1024 // of one server

	// More than chance are so many slow answers, one in so many of all, at more than one moment unless they are most.
	manySlow  = 3
	partSlow  = 20
	oneMoment = 500 * time.Millisecond
)

// take takes in the outcome of a query.
func (s *slowServers) take(e event.Event, d event.DNS) {
	t := &slowQuery{event: e, dns: d, end: e.Time.Add(d.Latency)}
	switch d.Outcome {
	case event.DNSAnswered, event.DNSTruncated:
		s.of(d.Server, e.Time).all.Add(d.Latency, s.limit)
		if d.Latency <= s.limit/2 {
			return
		}
		if d.Latency > s.limit && s.due.IsZero() {
			s.due = t.end.Add(paceEvery)
		}
	default:
		t.end = time.Time{}
	}
	if len(s.lately) >= maxLately {
		s.lately = slices.Delete(s.lately, 0, maxLately/2)
	}
	s.lately = append(s.lately, t)
}

func (s *slowServers) of(server netip.AddrPort, now time.Time) *serverTimes {
	p, _ := s.servers.Get(server)
	if p == nil || now.Sub(p.began) > paceWithin {
		p = &serverTimes{began: now}
		s.servers.Put(server, p)
	}
	return p
}

// judge reports the servers that were slow since the last time.
func (s *slowServers) judge(now time.Time, final bool) []event.Finding {
	if s.due.IsZero() || !final && now.Before(s.due) {
		return nil
	}
	s.due = time.Time{}
	var servers []netip.AddrPort
	for _, t := range s.lately {
		if t.judged || t.end.IsZero() || t.dns.Latency <= s.limit {
			continue
		}
		t.judged = true
		slowest := s.deepest(t)
		p := s.of(slowest.dns.Server, slowest.event.Time)
		switch {
		case len(p.slow)+len(p.behind) >= maxSlow:
		case slowest == t:
			p.slow = append(p.slow, t)
		default:
			p.behind = append(p.behind, t)
		}
		if !slices.Contains(servers, slowest.dns.Server) {
			servers = append(servers, slowest.dns.Server)
		}
	}
	s.lately = slices.DeleteFunc(s.lately, func(t *slowQuery) bool { return now.Sub(t.event.Time) > paceWithin })
	var found []event.Finding
	for _, server := range servers {
		if p, ok := s.servers.Get(server); ok && len(p.slow) > 0 {
			found = append(found, p.report(server, s.limit)...)
		}
	}
	return found
}

// deepest follows a slow answer to that of the server that all others waited for.
func (s *slowServers) deepest(t *slowQuery) *slowQuery {
	const servers = 4 // in a row: a node's cache, the cluster's server, the company's, the world's
	for range servers {
		t.waited = s.waitedFor(t)
		if t.waited == nil || t.waited.end.IsZero() || t.waited.dns.Latency <= s.limit {
			return t
		}
		t = t.waited
	}
	return t
}

// waitedFor finds the query that the server sent itself meanwhile, and that took most of the time.
func (s *slowServers) waitedFor(t *slowQuery) *slowQuery {
	var longest *slowQuery
	for _, c := range s.lately {
		took := c.dns.Latency
		if c.end.IsZero() {
			took = t.end.Sub(c.event.Time)
		}
		if c.asksFor(t) && 2*took >= t.dns.Latency && (longest == nil || c.dns.Latency > longest.dns.Latency) {
			longest = c
		}
	}
	return longest
}

// asksFor reports whether the server of another query sent this one, with the same question, while that waited.
func (c *slowQuery) asksFor(t *slowQuery) bool {
	const late = 10 * time.Millisecond // clocks of CPUs, and what is seen of an answer last
	server := t.dns.ServerNetns != 0 && c.dns.ClientNetns == t.dns.ServerNetns || c.event.Packet.Src == server(t.dns).Addr()
	return server && c.dns.Server != t.dns.Server && strings.EqualFold(c.dns.Name, t.dns.Name) && c.dns.Type == t.dns.Type &&
		!c.event.Time.Before(t.event.Time) && c.event.Time.Before(t.end) && !c.end.After(t.end.Add(late))
}

// moments counts the times at which answers were slow: answers that waited simultaneously count once.
func moments(slow []*slowQuery) (n int) {
	var end time.Time
	inOrder := slices.SortedFunc(slices.Values(slow), func(a, b *slowQuery) int { return a.event.Time.Compare(b.event.Time) })
	for _, t := range inOrder {
		if n == 0 || t.event.Time.Sub(end) > oneMoment {
			n++
		}
		if t.end.After(end) {
			end = t.end
		}
	}
	return n
}

// often reports whether so many answers were slow that it is not chance.
func (p *serverTimes) often() bool {
	n := uint64(len(p.slow))
	return n >= manySlow && n*partSlow >= p.all.N && (moments(p.slow) > 1 || 2*n >= p.all.N)
}

// report returns the finding about a slow server for each client since the last time.
func (p *serverTimes) report(at netip.AddrPort, limit time.Duration) []event.Finding {
	f := p.finding(at, limit)
	var found []event.Finding
	for _, t := range slices.Concat(p.slow, p.behind)[min(p.reported, len(p.slow)+len(p.behind)):] {
		x := f.Of(t.event)
		x.Time, x.First, x.Last, x.Count = t.end, t.event.Time, t.end, 1
		found = append(found, x)
	}
	p.reported += len(found)
	return found
}

func (p *serverTimes) finding(at netip.AddrPort, limit time.Duration) event.Finding {
	worst := slices.MaxFunc(p.slow, func(a, b *slowQuery) int { return cmp.Compare(a.dns.Latency, b.dns.Latency) })
	d := worst.dns
	f := event.Finding{
		ID: "dns-slow", Confidence: event.Certain, Subject: at.String(),
		Title: fmt.Sprintf("%d of %d answers of the DNS server %v took longer than %v: %v for %s %s.",
			len(p.slow), p.all.N, server(d), limit, short(d.Latency), d.Name, d.Type),
		Evidence: []string{question(worst.event, d) + ", answered after " + d.Latency.String(), "query last seen " + place(d.Last), "answer last seen " + place(d.AnswerLast)},
		Remedy:   []event.Remedy{digAgain(d, "")},
	}
	q := p.all.Percentiles([]float64{50, 90, 99})
	percentiles := fmt.Sprintf("p50 %v, p90 %v, p99 %v", short(time.Duration(q[0])), short(time.Duration(q[1])), short(time.Duration(q[2])))
	if !p.often() {
		f.Severity = event.Info
	} else {
		f.Title = fmt.Sprintf("The DNS server %v is slow: %d of %d answers took longer than %v (%s).", server(d), len(p.slow), p.all.N, limit, percentiles)
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("%d answers: %s, max %v", p.all.N, percentiles, short(time.Duration(p.all.Max))))
	p.where(&f)
	if len(p.behind) > 0 {
		b := p.behind[len(p.behind)-1].dns
		f.Cause += fmt.Sprintf(" %d answers of %v waited for it, because that server asks this one.", len(p.behind), b.Server)
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v answered %s %s after %v", b.Server, b.Name, b.Type, b.Latency))
	}
	return f
}

// where says on which part of the path the slow answers spent their time.
func (p *serverTimes) where(f *event.Finding) {
	var all, before, beyond time.Duration
	for _, t := range p.slow {
		all += t.dns.Latency
		beyond += t.dns.Beyond
		if t.dns.Last != nil {
			before += t.dns.Last.Time.Sub(t.event.Time)
		}
	}
	after := all - before - beyond
	f.Cause = fmt.Sprintf("%d%% of their time was spent at the server or on the path to it, behind the last place where the queries were seen; %d%% before that and %d%% after it on this node.",
		percent(beyond, all), percent(before, all), percent(after, all))
	last := p.slow[len(p.slow)-1]
	switch {
	case 2*beyond < all:
		f.Cause += " The node held the packets itself: its CPUs were busy, or a queue was."
		f.Remedy = append(f.Remedy, run("cat /proc/pressure/cpu").Noting("on the node"), run("mpstat -P ALL 1 5").Noting("on the node"))
	case last.waited != nil && last.waited.end.IsZero():
		f.Cause += fmt.Sprintf(" The server's own query to %v had no answer meanwhile.", last.waited.dns.Server)
	case last.waited != nil:
		f.Cause += fmt.Sprintf(" The server waited for its own query to %v, for %v.", last.waited.dns.Server, short(last.waited.dns.Latency))
	case last.dns.ServerNetns != 0:
		f.Cause += " The server is on this node and sent no query of its own that took so long: the process itself was slow, by its CPU limit or its load."
		f.Remedy = append(f.Remedy, run("kubectl -n kube-system top pods -l k8s-app=kube-dns"))
	}
}

func percent(part, whole time.Duration) int64 {
	if whole <= 0 {
		return 0
	}
	return int64((200*max(part, 0) + whole) / (2 * whole))
}

// short rounds a duration to what is worth reading.
func short(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
