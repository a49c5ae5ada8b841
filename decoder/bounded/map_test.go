// SPDX-License-Identifier: Apache-2.0

package bounded

import (
	"maps"
	"testing"
)

func TestMapForgetsTheOldestAlone(t *testing.T) {
	var r Map[int, int]
	for i := range 10 * MapSize {
		r.Put(i, i)
		r.Put(-1, i) // again and again
	}
	for i := 10*MapSize - MapSize/2 + 1; i < 10*MapSize; i++ {
		if v, ok := r.Get(i); !ok || v != i {
			t.Fatalf("one of the latest is %d, %t, want %d", v, ok, i)
		}
	}
	if v, ok := r.Get(-1); !ok || v != 10*MapSize-1 {
		t.Errorf("what was put again and again is %d, %t", v, ok)
	}
	if _, ok := r.Get(0); ok {
		t.Error("the oldest is still remembered")
	}
	n := len(maps.Collect(r.All()))
	if n > MapSize {
		t.Errorf("%d are remembered, want at most %d", n, MapSize)
	}
	if want := uint64(10*MapSize + 1 - n); r.Evicted() != want {
		t.Errorf("%d were evicted, want %d", r.Evicted(), want)
	}
}

func TestMapForgetsWhatIsDeleted(t *testing.T) {
	var r Map[int, string]
	r.Put(0, "old")
	for i := 1; i <= MapSize/2; i++ {
		r.Put(i, "")
	}
	r.Put(0, "new") // is in both halves now
	if v := maps.Collect(r.All())[0]; v != "new" {
		t.Errorf("All has %q, want what was put last", v)
	}
	r.Delete(0)
	if v, ok := r.Get(0); ok {
		t.Errorf("what was deleted is %q", v)
	}
}

// TestMapKeep wants what is kept made once, and no more remembered than of what is put.
func TestMapKeep(t *testing.T) {
	var r Map[int, *int]
	for i := range 5 * MapSize {
		*r.Keep(-1, func() *int { return new(int) })++
		r.Keep(i, func() *int { return new(int) })
	}
	if n := *r.Keep(-1, func() *int { return new(int) }); n != 5*MapSize {
		t.Errorf("what is asked for all the time counted to %d, want %d", n, 5*MapSize)
	}
	if n := len(maps.Collect(r.All())); n > MapSize {
		t.Errorf("%d are remembered, want at most %d", n, MapSize)
	}
}
