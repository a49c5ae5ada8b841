// SPDX-License-Identifier: Apache-2.0

package bounded

import "iter"

// WeighedBytes is how much a Weighed holds.
const WeighedBytes = 2 << 20

// Weighed is a Map for things of any length, as facts of the node are, which a file can hold any of: it is bounded by what
// they take, and forgets what was put first on the account of the owner whose things take most. The zero Weighed is empty.
type Weighed[K comparable, V any] struct{ table *Table[K, V] }

// Get returns what was put last under a key; ok is false if nothing was, or too much since.
func (w *Weighed[K, V]) Get(key K) (value V, ok bool) {
	if w.table == nil {
		return value, false
	}
	return w.table.Get(key)
}

// Put remembers a thing on the account of an owner.
func (w *Weighed[K, V]) Put(owner Owner, key K, value V) {
	if w.table == nil {
		w.table = NewTable[K, V](WeighedBytes)
	}
	w.table.Put(owner, key, value, SizeOf(key)+SizeOf(value)+entrySize)
}

// Delete forgets a thing.
func (w *Weighed[K, V]) Delete(key K) {
	if w.table != nil {
		w.table.Delete(key)
	}
}

// DeleteFunc forgets the things whose keys the function picks.
func (w *Weighed[K, V]) DeleteFunc(picks func(K) bool) {
	if w.table != nil {
		w.table.DeleteFunc(picks)
	}
}

// All returns what is remembered, in no order.
func (w *Weighed[K, V]) All() iter.Seq2[K, V] {
	if w.table == nil {
		return func(func(K, V) bool) {}
	}
	return w.table.All()
}

// Evicted is how many things were forgotten to make room.
func (w *Weighed[K, V]) Evicted() uint64 {
	if w.table == nil {
		return 0
	}
	return w.table.Evicted()
}
