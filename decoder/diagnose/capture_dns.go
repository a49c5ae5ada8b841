// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/event"
)

// captureKey is a client and the first label of a name: all names that a resolver makes of one begin with the same
// label, whatever its search list.
type captureKey struct {
	client netip.Addr
	label  string
}

// captureLookup are the names that a resolver tried one after the other.
type captureLookup struct {
	first  event.Event
	last   time.Time
	names  []string // that do not exist
	exists bool     // one of them exists, or that is not known
}

// lookup takes in a query.
func (r *CaptureOnly) lookup(e event.Event, d event.DNS) {
	if !forAddress(d) {
		return
	}
	label, _, _ := strings.Cut(d.Name, ".")
	k := captureKey{e.Packet.Src, label}
	l := r.lookups[k]
	if l == nil {
		if len(r.lookups) >= maxLookups {
			return
		}
		l = &captureLookup{first: e}
		r.lookups[k] = l
	}
	l.last = e.Time
	if d.Outcome != event.DNSAnswered || d.Rcode != "NXDOMAIN" || byPolicy(d.Errors) {
		l.exists = true
	} else if !slices.Contains(l.names, d.Name) && len(l.names) < maxQueries {
		l.names = append(l.names, d.Name)
	}
}

// judge reports the lookups that are complete and found nothing.
func (r *CaptureOnly) judge(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	for k, l := range r.lookups {
		if !final && now.Sub(l.last) < retryIdle {
			continue
		}
		delete(r.lookups, k)
		if !l.exists {
			found = append(found, l.nowhere(now))
		}
	}
	slices.SortFunc(found, func(a, b event.Finding) int { return a.First.Compare(b.First) })
	return found
}

func (l *captureLookup) nowhere(now time.Time) event.Finding {
	d, client := l.first.Body.(event.DNS), l.first.Packet.Src
	asked := slices.MinFunc(l.names, func(a, b string) int { return len(a) - len(b) })
	return event.Finding{
		ID: "dns-nxdomain", Confidence: event.Likely, Subject: asked,
		Time: now, First: l.first.Time, Last: l.last, Count: 1,
		Title: fmt.Sprintf("The name %q does not exist: the DNS server of %v answered NXDOMAIN.", asked, client),
		Cause: "No name with this first label that was asked for exists: a typing error, a service of another " +
			"namespace (NAME.NAMESPACE), or one that was not created.",
		Evidence: []string{fmt.Sprintf("%s answered NXDOMAIN by %v: %s", l.first.Time.UTC().Format("15:04:05.000000"), d.Server, strings.Join(l.names, ", "))},
		Remedy:   []event.Remedy{dig(d.Server, "", asked, d.Type)},
	}.Of(l.first)
}
