// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestACauseIsReportedOnceAndAgainWhenItGetsWorse(t *testing.T) {
	var f Folder
	start := time.Unix(1000, 0)
	for i, c := range []struct {
		severity Severity
		reported bool
	}{{Info, true}, {Info, false}, {Warning, true}, {Info, false}, {Warning, false}} {
		now := start.Add(time.Duration(i) * time.Second)
		if reported := f.Add(Finding{ID: "x", Severity: c.severity, First: now, Last: now}); reported != c.reported {
			t.Errorf("finding %d: reported is %v, want %v", i, reported, c.reported)
		}
	}
	all := f.All()
	if len(all) != 1 || all[0].Severity != Warning || all[0].Count != 5 || !all[0].First.Equal(start) || !all[0].Last.Equal(start.Add(4*time.Second)) {
		t.Errorf("got %+v", all)
	}
}

func TestCausesThatAreForgotten(t *testing.T) {
	var f Folder
	add := func(subject string, severity Severity, at int) bool {
		return f.Add(Finding{ID: "x", Subject: subject, Severity: severity, Last: time.Unix(int64(at), 0)})
	}
	add("worst", Critical, 0)
	add("quiet", Info, 0)
	add("steady", Info, 0)
	for i := range 4 * maxCauses {
		add("scanned "+strconv.Itoa(i), Info, i)
		if add("steady", Info, i) {
			t.Fatalf("what goes on was forgotten after %d others", i)
		}
	}
	if n := len(f.All()); n > maxCauses {
		t.Errorf("%d causes are kept, want at most %d", n, maxCauses)
	}
	if first := f.All()[0]; first.Subject != "worst" {
		t.Errorf("the first is %q, want the worst", first.Subject)
	}
	if !add("quiet", Info, 4*maxCauses) {
		t.Error("one of the least that was away for the longest time is still known")
	}
}

func TestFindingsSayWhoseNamespacesAre(t *testing.T) {
	whose := func(netns uint32, _ time.Time) string {
		return map[uint32]string{7: "node a's own", 8: "pod default/web's"}[netns]
	}
	for _, c := range []struct {
		name  string
		about About
		want  string
	}{
		{"two", About{Netns: 8, Others: []uint32{7}}, "netns 8 is pod default/web's, netns 7 is node a's own"},
		{"one that is not known", About{Netns: 9}, ""},
		{"none", About{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := AnnotateNetns(Finding{About: c.about}, whose)
			if got := strings.Join(f.Evidence, "\n"); got != c.want {
				t.Errorf("added %q, want %q", got, c.want)
			}
		})
	}
}

// TestFolderIsBoundedInBytes adds causes with much to say about each.
func TestFolderIsBoundedInBytes(t *testing.T) {
	var f Folder
	evidence := []string{strings.Repeat("x", 64<<10)}
	const added = 3 * maxFolder / (64 << 10)
	for i := range added {
		f.Add(Finding{ID: "many", Subject: fmt.Sprint(i), Severity: Info, Evidence: evidence})
		if f.size > maxFolder {
			t.Fatalf("%d bytes are kept", f.size)
		}
	}
	f.Add(Finding{ID: "worst", Subject: "0", Severity: Critical, Evidence: evidence})
	for i := range added {
		f.Add(Finding{ID: "more", Subject: fmt.Sprint(i), Severity: Info, Evidence: evidence})
	}
	if n := uint64(len(f.All())); n+f.Evicted() != 2*added+1 || f.Evicted() == 0 {
		t.Errorf("%d findings are kept, %d evicted, of %d", n, f.Evicted(), 2*added+1)
	}
	if _, ok := f.Find(Finding{ID: "worst", Subject: "0"}.Key()); !ok {
		t.Error("the worst is forgotten")
	}
}

// TestAttackFindingsOfOnePod: who makes up causes, however severe, loses its own.
func TestAttackFindingsOfOnePod(t *testing.T) {
	of := func(pod string, n int, s Severity) Finding {
		return Finding{ID: "x", Subject: fmt.Sprint(pod, n), Severity: s, Pod: Pod{Namespace: "default", Name: pod}, Last: time.Unix(int64(n), 0)}
	}
	var f Folder
	for n := range 3 {
		f.Add(of("other", n, Warning))
	}
	for n := range 3 * maxCauses {
		f.Add(of("flooder", n, Critical))
	}
	kept := 0
	for _, x := range f.All() {
		if x.Pod.Name == "other" {
			kept++
		}
	}
	if kept != 3 || f.Evicted() == 0 {
		t.Errorf("%d of another pod's 3 findings are kept, %d evicted", kept, f.Evicted())
	}
}

// TestCausesAlikeAreOne: who tries many servers makes some findings and one that counts the others; another's own are apart.
func TestCausesAlikeAreOne(t *testing.T) {
	const tried = 1000
	of := func(pod, id string, n int, s Severity) Finding {
		return Finding{ID: id, Subject: fmt.Sprintf("10.9.%d.%d:80", n>>8, n&255), Title: fmt.Sprintf("server %d does not answer.", n), Severity: s,
			Pod: Pod{Namespace: "default", Name: pod}, About: About{Servers: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), 80)}}}
	}
	var f Folder
	add := func(x Finding) bool { return f.Add(f.Gather(x.Whole())) }
	for round := range 2 {
		for n := range tried {
			severity := Info
			if n == tried-1 {
				severity = Critical
			}
			if news, first := add(of("flooder", "a", n, severity)), round == 0; news != (first && (n <= maxAlike || n == tried-1)) {
				t.Fatalf("finding %d of round %d is news: %t", n, round, news)
			}
		}
	}
	add(of("flooder", "b", 0, Info))
	add(of("other", "a", tried, Info))
	all := f.All()
	if len(all) != maxAlike+1+2 {
		t.Fatalf("%d findings, want %d, one of all others, and two apart", len(all), maxAlike)
	}
	x := all[maxAlike]
	if x.Count != 2*(tried-maxAlike) || x.Severity != Critical || x.Subject != "others that default/flooder meets" ||
		x.Title != "server 999 does not answer: so at more than 20 others." || len(x.Hits) != maxHits || x.Unnamed == 0 {
		t.Errorf("all others are %d× %s, %d named, %q %q", x.Count, x.Severity, len(x.Hits), x.Subject, x.Title)
	}
}
