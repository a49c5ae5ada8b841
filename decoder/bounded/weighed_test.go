// SPDX-License-Identifier: Apache-2.0

package bounded

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestSizeOf(t *testing.T) {
	type node struct {
		name  string
		at    time.Time
		addrs []netip.Addr
		next  *node
		tags  map[string]string
		any   any
	}
	const header = 16 + 24 + 24 + 8 + 8 + 16
	for _, tt := range []struct {
		v    any
		want int
	}{
		{nil, 0}, {uint32(1), 4}, {"four", 16 + 4}, {[]string{"a", "bc"}, 24 + 32 + 3}, {[2]string{"a", "bc"}, 32 + 3},
		{node{at: time.Now(), addrs: make([]netip.Addr, 2)}, header + 48},
		{&node{name: "abc", next: &node{}}, 8 + header + 3 + header},
		{map[string]string{"ab": "c"}, 8 + 64 + 3},
		{node{any: "abc"}, header + 16 + 3}, {node{tags: map[string]string{"ab": "c"}}, header + 64 + 3},
	} {
		if got := SizeOf(tt.v); got != tt.want {
			t.Errorf("SizeOf(%+v) is %d, want %d", tt.v, got, tt.want)
		}
	}
}

func TestWeighedForgetsByWhatThingsTake(t *testing.T) {
	var w Weighed[int, string]
	if _, ok := w.Get(0); ok || w.Evicted() != 0 {
		t.Error("the zero value has something")
	}
	w.Delete(0)
	for range w.All() {
		t.Error("the zero value has something")
	}
	long := strings.Repeat("x", WeighedBytes/4)
	for i := range 10 {
		w.Put(Owner{}, -1, fmt.Sprint(i)) // again and again: it is the newest, and takes no more
		w.Put(Owner{}, i, long)
	}
	if _, ok := w.Get(0); ok || w.Evicted() < 7 {
		t.Errorf("the oldest is remembered, %d were evicted", w.Evicted())
	}
	if v, _ := w.Get(9); v != long {
		t.Error("the newest is forgotten")
	}
	if v, _ := w.Get(-1); v != "9" {
		t.Errorf("what was put again and again is %q", v)
	}
	n := 0
	for range w.All() {
		n++
	}
	if w.Delete(9); n != 4 {
		t.Errorf("%d are remembered, want 3 long ones and a short one", n)
	}
	if _, ok := w.Get(9); ok {
		t.Error("what was deleted is remembered")
	}
}
