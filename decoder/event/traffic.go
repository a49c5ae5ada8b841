// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
)

// Traffic is what a client, by all addresses that it has on the way, asked of a server, by all of its; and when.
type Traffic struct {
	Proto       string
	Clients     []netip.Addr     // none: any
	Servers     []netip.AddrPort // port 0: all of the address
	First, Last time.Time

	Attempt
	Failed bounded.Timeline
}

// consequenceTime is how much later than its cause a consequence may be noticed, for clients wait, and how much earlier:
// what a query came to has the time of the query.
const consequenceTime = 5 * time.Second

// Meets reports whether two are about the same client and the same server at about the same time: a server, by address
// and port, in common, and a client, where both know one.
func (t Traffic) Meets(x Traffic) bool {
	return (t.Proto == x.Proto || t.Proto == "" || x.Proto == "") &&
		!t.First.After(x.Last.Add(consequenceTime)) && !x.First.After(t.Last.Add(consequenceTime)) &&
		slices.ContainsFunc(t.Servers, func(s netip.AddrPort) bool {
			return slices.ContainsFunc(x.Servers, func(y netip.AddrPort) bool { return sameServer(s, y) })
		}) &&
		(len(t.Clients) == 0 || len(x.Clients) == 0 || slices.ContainsFunc(t.Clients, func(c netip.Addr) bool { return slices.Contains(x.Clients, c) }))
}

// Reset reports whether it is queries over a connection that the server reset before it answered.
func (t Traffic) Reset() bool { return t.reset }

func sameServer(a, b netip.AddrPort) bool {
	return a.Addr() == b.Addr() && (a.Port() == b.Port() || a.Port() == 0 || b.Port() == 0)
}

// traffic is that of a finding that was found once.
func (f Finding) traffic() []Traffic {
	if len(f.About.Servers) == 0 {
		return nil
	}
	t := Traffic{Proto: f.About.Proto, Clients: f.About.Clients, Servers: f.About.Servers, First: f.First, Last: f.Last, Attempt: f.About.attempt}
	t.Failed.Add(bounded.NewSpan(f.First, f.Last, f.Count), maxFailed)
	return []Traffic{t}
}

// maxTraffic is how much of a finding's traffic is kept apart.
const maxTraffic = 1 << 10

// maxFailed is how many times of failure are kept apart.
const maxFailed = 16

// alsoMet adds what another finding of the same cause is about.
func (f *Finding) alsoMet(x Finding, room bool) {
	for _, t := range x.Traffic {
		i := slices.IndexFunc(f.Traffic, t.same)
		switch {
		case i >= 0:
			old := &f.Traffic[i]
			if t.First.Before(old.First) {
				old.First = t.First
			}
			if t.Last.After(old.Last) {
				old.Last = t.Last
			}
			for _, s := range t.Failed {
				old.Failed.Add(s, maxFailed)
			}
		case room && len(f.Traffic) < maxTraffic:
			f.Traffic = append(f.Traffic, t)
		}
	}
}

func (t Traffic) same(x Traffic) bool {
	return t.Proto == x.Proto && t.Attempt == x.Attempt && slices.Equal(t.Servers, x.Servers) && slices.Equal(t.Clients, x.Clients)
}
