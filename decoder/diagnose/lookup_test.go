package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder"
)

// TestLookups plays queries, each "name rcode" and the type if that is not A, of one client, some milliseconds apart.
func TestLookups(t *testing.T) {
	const gap = 10 * time.Millisecond
	everywhere := "db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NXDOMAIN, db.cluster.local NXDOMAIN, db NXDOMAIN"
	for _, c := range []struct{ name, queries, want string }{
		{"nowhere", everywhere, "dns-nxdomain db 1"},
		{"nowhere, twice", everywhere + ", " + everywhere, "dns-nxdomain db 1, dns-nxdomain db 1"},
		{"found in the second domain", "db.prod.default.svc.cluster.local NXDOMAIN, db.prod.svc.cluster.local NOERROR", ""},
		{"found outside, after all domains", "a.org.default.svc.cluster.local NXDOMAIN, a.org.svc.cluster.local NXDOMAIN, a.org.cluster.local NXDOMAIN, a.org NOERROR", "dns-search-amplification a.org 1"},
		{"given up half way", "db.default.svc.cluster.local NXDOMAIN, db.svc.cluster.local NXDOMAIN", ""},
		{"a server that failed in between", strings.Replace(everywhere, "db.svc.cluster.local NXDOMAIN", "db.svc.cluster.local SERVFAIL", 1), ""},
		{"one name as it is, as dig asks", "no-such.example.org NXDOMAIN", ""},
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
			know := NewFacts()
			know.Observe(decoder.Event{Body: decoder.Fact{Resolv: &decoder.ResolvConf{
				Netns: 7, Ndots: 5, Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}}}})
			r := NewLookups(know)
			at := time.Unix(1000, 0)
			var found []decoder.Finding
			for q := range strings.SplitSeq(c.queries, ", ") {
				words := append(strings.Fields(q), "A")
				name, rcode, noData := words[0], words[1], words[1] == "NODATA"
				if noData {
					rcode = "NOERROR"
				}
				at = at.Add(gap)
				found = append(found, r.Observe(decoder.Event{
					Header: decoder.Header{Time: at, Netns: 7}, Packet: &decoder.Packet{Src: netip.MustParseAddr("10.0.0.1")},
					Body: decoder.DNS{Name: name, Type: words[2], Rcode: rcode, NoData: noData, Outcome: decoder.DNSAnswered, ClientNetns: 7, Server: netip.MustParseAddrPort("10.96.0.10:53")},
				})...)
				found = append(found, r.Flush(at, false)...)
			}
			found = append(found, r.Flush(at.Add(lookupRest), false)...)
			if got := said(found); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// said is id, subject and count of findings.
func said(found []decoder.Finding) string {
	var all []string
	for _, f := range found {
		all = append(all, fmt.Sprintf("%s %s %d", f.ID, f.Subject, f.Count))
	}
	return strings.Join(all, ", ")
}
