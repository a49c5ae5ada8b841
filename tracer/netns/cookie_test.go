// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"testing"

	"ktrace/testdata/lab"
	"ktrace/tracer/netns"
)

// TestCookiesDiffer of namespaces, and are the same each time.
func TestCookiesDiffer(t *testing.T) {
	lan := lab.New(t)
	seen := map[uint64]bool{}
	for _, name := range []string{"a", "b", "c"} {
		s, err := netns.Open(lan.Namespace(name).Path())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		cookie, err := s.Cookie()
		again, err2 := s.Cookie()
		if err != nil || err2 != nil || cookie != again || seen[cookie] {
			t.Errorf("%s: %d, then %d, %v, %v", name, cookie, again, err, err2)
		}
		seen[cookie] = true
	}
}

func BenchmarkCookie(b *testing.B) {
	s, err := netns.Open(lab.New(b).Namespace("a").Path())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if _, err := s.Cookie(); err != nil {
			b.Fatal(err)
		}
	}
}
