// SPDX-License-Identifier: Apache-2.0

package bounded

import "iter"

// Table is a map whose entries are on the account of owners: where it is full, the owner that holds the most loses its oldest
// entry (see Pool). Use it for what the packets of strangers fill; NewTable makes one.
type Table[K comparable, V any] struct {
	entries map[K]*Entry[pair[K, V]]
	pool    Pool[pair[K, V]]
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

// NewTable returns an empty table for entries whose sizes sum up to most: bytes, or how many if each has size 1.
func NewTable[K comparable, V any](most int) *Table[K, V] { return NewTableEvict[K, V](most, nil) }

// NewTableEvict returns a table that calls evict, if it is not nil, with each entry that it evicts, after that is out.
func NewTableEvict[K comparable, V any](most int, evict func(K, V)) *Table[K, V] {
	t := &Table[K, V]{entries: map[K]*Entry[pair[K, V]]{}}
	t.pool.Most = most
	t.pool.Evict = func(p pair[K, V]) {
		delete(t.entries, p.key)
		if evict != nil {
			evict(p.key, p.value)
		}
	}
	return t
}

// Get returns what is held under a key.
func (t *Table[K, V]) Get(key K) (value V, ok bool) {
	if e := t.entries[key]; e != nil {
		return e.Value.value, true
	}
	return value, false
}

// Put holds a value of a size under a key, on the account of an owner, as the owner's newest. What the key had is replaced;
// that is no eviction.
func (t *Table[K, V]) Put(owner Owner, key K, value V, size int) {
	e := t.entries[key]
	if e != nil && e.account.owner != owner {
		t.pool.Remove(e)
		e = nil
	}
	if e != nil {
		e.Value.value = value
		t.pool.Touch(e)
		t.pool.Resize(e, size)
		return
	}
	// Room is made before the key is known: Add may evict the entry itself.
	e = t.pool.Add(owner, pair[K, V]{key, value}, size)
	if e.account != nil {
		t.entries[key] = e
	}
}

// Resize has the value under a key count for another size; it does nothing if there is none.
func (t *Table[K, V]) Resize(key K, size int) {
	if e := t.entries[key]; e != nil {
		t.pool.Resize(e, size)
	}
}

// Delete forgets a key. That is no eviction.
func (t *Table[K, V]) Delete(key K) {
	if e := t.entries[key]; e != nil {
		delete(t.entries, key)
		t.pool.Remove(e)
	}
}

// DeleteFunc forgets the keys that the function picks.
func (t *Table[K, V]) DeleteFunc(picks func(K) bool) {
	for key := range t.entries {
		if picks(key) {
			t.Delete(key)
		}
	}
}

// All yields what is held, in no order. Entries may be deleted meanwhile.
func (t *Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, e := range t.entries {
			if !yield(key, e.Value.value) {
				return
			}
		}
	}
}

// Len is how many entries there are.
func (t *Table[K, V]) Len() int { return len(t.entries) }

// Size is that of all entries together.
func (t *Table[K, V]) Size() int { return t.pool.Size() }

// Evicted is how many entries were evicted so far.
func (t *Table[K, V]) Evicted() uint64 { return t.pool.Evicted() }
