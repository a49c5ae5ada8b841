// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

func TestLookups(t *testing.T) {
	everywhere := "db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NXDOMAIN, db.cluster.local NXDOMAIN, db NXDOMAIN"
	for _, c := range []struct{ name, queries, want string }{
		{"nowhere", everywhere, "dns-nxdomain db 1"},
		{"nowhere, twice", everywhere + ", " + everywhere, "dns-nxdomain db 1, dns-nxdomain db 1"},
		{"found in the second domain", "db.prod.default.svc.cluster.local NXDOMAIN, db.prod.svc.cluster.local NOERROR", ""},
		{"found outside, after all domains", "a.org.default.svc.cluster.local NXDOMAIN, a.org.svc.cluster.local NXDOMAIN, a.org.cluster.local NXDOMAIN, a.org NOERROR", "dns-search-amplification a.org 1"},
		{"given up half way", "db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NXDOMAIN", ""},
		{"a server that failed in between", strings.Replace(everywhere, "db.svc.cluster.local NXDOMAIN", "db.svc.cluster.local SERVFAIL", 1), ""},
		{"an answer that comes late", strings.Replace(everywhere, "db.svc", "late db.svc", 1), "dns-nxdomain db 1"},
		{"asked again, with an answer", strings.Replace(everywhere, "db.svc.cluster.local NXDOMAIN", "db.svc.cluster.local nothing, late db.svc.cluster.local NXDOMAIN", 1), "dns-nxdomain db 1"},
		{"asked again, the answer known first", strings.Replace(everywhere, "db.svc.cluster.local NXDOMAIN", "db.svc.cluster.local NXDOMAIN, db.svc.cluster.local nothing", 1), "dns-nxdomain db 1"},
		{"never answered under one domain", strings.Replace(everywhere, "db.svc.cluster.local NXDOMAIN", "db.svc.cluster.local nothing", 1), ""},
		{"no address under the second domain, and the resolver goes on late", "db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NODATA, late db.cluster.local NOERROR", ""},
		{"one name as it is, as dig asks", "no-such.example.org NXDOMAIN", ""},
		{"whether a block list has an address", strings.ReplaceAll(everywhere, "db", "2.0.0.127.list.example.org"), ""},
		{"a name with a number in it", strings.ReplaceAll(everywhere, "db", "1.db"), "dns-nxdomain 1.db 1"},
		{"a whole name of the cluster", "db.default.svc.cluster.local.default.svc.cluster.local NXDOMAIN, db.default.svc.cluster.local.svc.cluster.local NXDOMAIN, " +
			"db.default.svc.cluster.local.cluster.local NXDOMAIN, db.default.svc.cluster.local NXDOMAIN", "dns-nxdomain db.default.svc.cluster.local 1"},
		{"no address under the second domain, where the resolver stops", "db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NODATA, db.svc.cluster.local NODATA AAAA", "dns-nxdomain db 1"},
		{"no address under the first domain, and the resolver goes on", "a.org.default.svc.cluster.local NODATA, a.org.svc.cluster.local NXDOMAIN, a.org.cluster.local NXDOMAIN, a.org NOERROR", ""},
		{"only an IPv4 address", "db.default.svc.cluster.local NOERROR, db.default.svc.cluster.local NODATA AAAA", ""},
		{"only an IPv4 address, of which the answer comes last", "db.default.svc.cluster.local NODATA AAAA, db.default.svc.cluster.local NOERROR", ""},
		{"no IPv6 address, and no other is wanted", "db.default.svc.cluster.local NODATA AAAA", ""},
		{"no address anywhere", strings.Replace(everywhere, "db.svc.cluster.local NXDOMAIN", "db.svc.cluster.local NODATA", 1), "dns-nxdomain db 1"},
		{"no address of the name as it is", "example.org NODATA, example.org NODATA AAAA", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, now, found := lookedUp(c.queries)
			if got := said(append(found, r.Flush(now.Add(retryIdle), false)...)); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// TestLookupsThatTheEndCutsOffAreNotJudged: what the resolver would have asked next is not known.
func TestLookupsThatTheEndCutsOffAreNotJudged(t *testing.T) {
	for queries, want := range map[string]string{
		"db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NODATA":                                           "",
		"db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NXDOMAIN, db.cluster.local NXDOMAIN, db NXDOMAIN": "dns-nxdomain db 1",
	} {
		r, now, found := lookedUp(queries)
		if got := said(append(found, r.Flush(now, true)...)); got != want {
			t.Errorf("%s: found %q, want %q", queries, got, want)
		}
	}
}

// lookedUp plays queries, each "name rcode" and the type if that is not A, of one client, some milliseconds apart, or
// seconds if it is late.
func lookedUp(queries string) (r *DNSLookups, at time.Time, found []event.Finding) {
	const gap, slowly = 10 * time.Millisecond, 5 * time.Second
	state := NewState()
	state.Observe(event.Event{Body: event.Fact{Resolv: &event.ResolvConf{
		Netns: 7, Ndots: 5, Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}}}})
	r, at = NewDNSLookups(state), time.Unix(1000, 0)
	for q := range strings.SplitSeq(queries, ", ") {
		q, late := strings.CutPrefix(q, "late ")
		if at = at.Add(gap); late {
			at = at.Add(slowly)
		}
		words := append(strings.Fields(q), "A")
		d := event.DNS{Name: words[0], Type: words[2], Rcode: words[1], Outcome: event.DNSAnswered, ClientNetns: 7, Server: netip.MustParseAddrPort("10.96.0.10:53")}
		switch d.Rcode {
		case "NODATA":
			d.Rcode, d.NoData = "NOERROR", true
		case "nothing":
			d.Rcode, d.Outcome = "", event.DNSNoResponse
		}
		found = append(found, r.Flush(at, false)...)
		found = append(found, r.Observe(event.Event{
			Header: event.Header{Time: at, Netns: 7}, Packet: &packet.Packet{Src: netip.MustParseAddr("10.0.0.1")}, Body: d,
		})...)
	}
	return r, at, found
}

// said is id, subject and count of findings.
func said(found []event.Finding) string {
	var all []string
	for _, f := range found {
		all = append(all, fmt.Sprintf("%s %s %d", f.ID, f.Subject, f.Count))
	}
	return strings.Join(all, ", ")
}

// TestWhatAServerGivesAsReasonIsTheCause: a name that it blocks may exist.
func TestWhatAServerGivesAsReasonIsTheCause(t *testing.T) {
	for code, want := range map[uint16]string{15: "blocks by a policy", 7: "exist, fails DNSSEC", 22: "exist, upstream servers do not answer", 0: "exist, a typing error"} {
		title, cause, _ := strings.Cut(want, " ")
		r, now, _ := lookedUp("db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NXDOMAIN, db.cluster.local NXDOMAIN")
		r.Observe(event.Event{Header: event.Header{Time: now, Netns: 7}, Packet: &packet.Packet{Src: netip.MustParseAddr("10.0.0.1")},
			Body: event.DNS{Name: "db", Type: "A", Rcode: "NXDOMAIN", Outcome: event.DNSAnswered, ClientNetns: 7, Errors: []event.DNSError{event.NewDNSError(code, "as it is")}}})
		found := r.Flush(now, true)
		if len(found) != 1 || !strings.Contains(found[0].Title, title) || !strings.Contains(found[0].Cause, cause) || !strings.Contains(strings.Join(found[0].Evidence, "\n"), `"as it is"`) {
			t.Errorf("code %d: %+v", code, found)
		}
	}
}
