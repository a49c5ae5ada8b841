// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
	"testing"
)

// hitting is a finding about a server that a client asked.
func hitting(id, subject, pod, server string) Finding {
	f := Finding{ID: id, Subject: subject}
	if pod != "" {
		f.Pod = Pod{Namespace: "shop", Name: pod}
	}
	if server != "" {
		f.About.Asks(netip.MustParseAddr("10.244.0.2"), netip.MustParseAddrPort(server))
	}
	return f
}

func TestOneCauseHitsMany(t *testing.T) {
	var f Folder
	for i := range 300 {
		f.Add(hitting("netfilter-drop", "the policy of FORWARD", fmt.Sprintf("web-%d", i%2), fmt.Sprintf("10.9.0.%d:80", i%100)))
	}
	all := f.All()
	if len(all) != 1 || all[0].Count != 300 || len(all[0].Hits) != 100 || all[0].Hits[0].Count != 3 {
		t.Fatalf("%d findings: %+v", len(all), all)
	}
	want := "shop/web-0, shop/web-1 on the way to 10.9.0.0:80, 10.9.0.1:80, 10.9.0.2:80 and 97 more"
	if got := Victims(all[0].Hits, all[0].Unnamed); got != want {
		t.Errorf("hits %q, want %q", got, want)
	}
}

func TestMoreHitsThanAreNamed(t *testing.T) {
	var f Folder
	for i := range 1000 {
		f.Add(hitting("x", "y", fmt.Sprintf("web-%d", i), "10.9.0.1:80"))
	}
	x := f.All()[0]
	if len(x.Hits) != maxHits || x.Unnamed != 1000-maxHits || x.Count != 1000 {
		t.Errorf("%d hits are named, %d times others, of %d", len(x.Hits), x.Unnamed, x.Count)
	}
	want := fmt.Sprintf("shop/web-0, shop/web-1, shop/web-2 and %d more, and others %d times", maxHits-3, 1000-maxHits)
	if got := Victims(x.Hits, x.Unnamed); got != want {
		t.Errorf("hits %q, want %q", got, want)
	}
}

// TestHitsSurviveAnotherFolder: rules that are judged together fold before the run does.
func TestHitsSurviveAnotherFolder(t *testing.T) {
	var first, second Folder
	for _, pod := range []string{"a", "b", "a"} {
		first.Add(hitting("x", "y", pod, "10.9.0.1:80"))
	}
	second.Add(first.All()[0])
	second.Add(hitting("x", "y", "c", "10.9.0.1:80"))
	if got, want := fmt.Sprint(second.All()[0].Hits), "[{shop/a 10.244.0.2 10.9.0.1:80 2} {shop/b 10.244.0.2 10.9.0.1:80 1} {shop/c 10.244.0.2 10.9.0.1:80 1}]"; got != want {
		t.Errorf("hits %s, want %s", got, want)
	}
}

func TestWhatIsNotTheSameCause(t *testing.T) {
	pod := func(f Finding, netns uint32) Finding { f.About.Netns = netns; return f }
	for _, c := range []struct {
		name string
		a, b Finding
		same bool
	}{
		{"a server, from two pods", hitting("x", "10.9.0.1:80", "a", "10.9.0.1:80"), hitting("x", "10.9.0.1:80", "b", "10.9.0.1:80"), true},
		{"two servers", hitting("x", "10.9.0.1:80", "a", "10.9.0.1:80"), hitting("x", "10.9.0.2:80", "a", "10.9.0.2:80"), false},
		{"two ids", hitting("x", "s", "a", "10.9.0.1:80"), hitting("y", "s", "a", "10.9.0.1:80"), false},
		{"files of two pods", hitting("x", "/data/wal", "a", ""), hitting("x", "/data/wal", "b", ""), false},
		{"loopback in two pods", pod(hitting("x", "127.0.0.1:80", "a", "127.0.0.1:80"), 1), pod(hitting("x", "127.0.0.1:80", "b", "127.0.0.1:80"), 2), false},
		{"any address in two pods", pod(hitting("x", "[::]:80", "a", "[::]:80"), 1), pod(hitting("x", "[::]:80", "b", "[::]:80"), 2), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f Folder
			f.Add(c.a)
			f.Add(c.b)
			if same := len(f.All()) == 1; same != c.same {
				t.Errorf("one finding: %v, want %v", same, c.same)
			}
		})
	}
}
