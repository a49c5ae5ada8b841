// SPDX-License-Identifier: Apache-2.0

package bounded

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPoolEvictsFromTheLargest compares a Pool with one that looks at all entries each time.
func TestPoolEvictsFromTheLargest(t *testing.T) {
	type thing struct {
		id, size int
		owner    Owner
	}
	r := rand.New(rand.NewPCG(1, 2))
	var got, want []int
	var model []thing // the oldest first
	pool := Pool[thing]{Most: 1000, Evict: func(x thing) { got = append(got, x.id) }}
	entries := map[int]*Entry[thing]{}
	evict := func() {
		for {
			sum, of := 0, map[Owner]int{}
			for _, x := range model {
				sum, of[x.owner] = sum+x.size, of[x.owner]+x.size
			}
			if sum <= pool.Most {
				return
			}
			largest := slices.MaxFunc(model, func(a, b thing) int { // the first among equals, so the oldest
				return cmp.Compare(of[a.owner], of[b.owner])
			})
			i := slices.Index(model, largest)
			want = append(want, largest.id)
			model = slices.Delete(model, i, i+1)
		}
	}
	for id := range 20000 {
		switch op := r.IntN(10); {
		case op < 6 || len(model) == 0:
			x := thing{id, 1 + r.IntN(60), Owner{Netns: uint32(r.ExpFloat64() * 4)}}
			entries[id] = pool.Add(x.owner, x, x.size)
			model = append(model, x)
		case op < 8:
			i := r.IntN(len(model))
			x := model[i]
			pool.Remove(entries[x.id])
			pool.Remove(entries[x.id])
			model = slices.Delete(model, i, i+1)
		default:
			i := r.IntN(len(model))
			x := model[i]
			grown := 1 + r.IntN(60)
			if grown > x.size {
				model = append(slices.Delete(model, i, i+1), thing{x.id, grown, x.owner})
			} else {
				model[i].size = grown
			}
			entries[x.id].Value.size = grown
			pool.Resize(entries[x.id], grown)
		}
		evict()
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: evicted %v, want %v", id, got, want)
		}
		got, want = got[:0], want[:0]
		if pool.Len() != len(model) {
			t.Fatalf("step %d: %d entries, want %d", id, pool.Len(), len(model))
		}
	}
	if pool.Evicted() < 1000 {
		t.Errorf("only %d were evicted", pool.Evicted())
	}
	for e := range pool.All() {
		pool.Remove(e)
	}
	if pool.Len() != 0 || pool.Size() != 0 || len(pool.owners) != 0 || len(pool.largest) != 0 {
		t.Errorf("an emptied pool has %d entries of size %d, %d owners", pool.Len(), pool.Size(), len(pool.owners))
	}
}

// TestTableKeepsWhatOthersHold floods a table on one owner's account.
func TestTableKeepsWhatOthersHold(t *testing.T) {
	flooder, other := Owner{Netns: 1}, Owner{Netns: 2}
	evicted := 0
	table := NewTableEvict(100, func(_ int, v string) {
		if v != "flood" {
			t.Errorf("%q was evicted", v)
		}
		evicted++
	})
	for i := range 10 {
		table.Put(other, -1-i, "other", 1)
	}
	for i := range 10000 {
		table.Put(flooder, i, "flood", 1)
	}
	if table.Len() != 100 || table.Size() != 100 || evicted != 10000-90 || table.Evicted() != uint64(evicted) {
		t.Errorf("%d entries of size %d, %d evicted", table.Len(), table.Size(), evicted)
	}
	if v, ok := table.Get(-1); v != "other" || !ok {
		t.Errorf("the other's first is %q, %t", v, ok)
	}
	table.Put(flooder, -1, "flood", 1) // it is the flooder's now
	table.Delete(9999)
	table.Delete(9999)
	if _, ok := table.Get(9999); ok || table.Len() != 99 {
		t.Errorf("%d entries after one was deleted", table.Len())
	}
	table.Put(flooder, 20000, "flood", 1000) // too large for the table alone
	if _, ok := table.Get(20000); ok || table.Len() != 9 {
		t.Errorf("%d entries, want the other's nine", table.Len())
	}
}

func BenchmarkTablePut(b *testing.B) {
	table := NewTable[int, int](MapSize)
	for i := 0; b.Loop(); i++ {
		table.Put(Owner{Netns: uint32(i % 300)}, i, i, 1)
	}
}

func BenchmarkMapPut(b *testing.B) {
	var m Map[int, int]
	for i := 0; b.Loop(); i++ {
		m.Put(i, i)
	}
}
