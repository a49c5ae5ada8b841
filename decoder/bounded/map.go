// SPDX-License-Identifier: Apache-2.0

package bounded

import (
	"iter"
	"maps"
)

// MapSize is how many things a Map remembers.
const MapSize = 8192

// Map remembers the latest of many things by their keys: at least half of MapSize, never more, so that a run of days takes no
// more memory than one of minutes. What is put again under its key counts as new. The zero Map is empty. Where one owner's
// things must not displace those of others, take a Table.
type Map[K comparable, V any] struct {
	now, before map[K]V
	evicted     uint64
}

// Get returns what was put last under a key; ok is false if nothing was, or too much since.
func (r *Map[K, V]) Get(key K) (value V, ok bool) {
	if value, ok = r.now[key]; !ok {
		value, ok = r.before[key]
	}
	return value, ok
}

// Put remembers a thing.
func (r *Map[K, V]) Put(key K, value V) {
	if r.now == nil {
		r.now = map[K]V{}
	} else if len(r.now) >= MapSize/2 { // looked at first: a look-up costs more
		if _, known := r.now[key]; !known {
			r.rotate()
		}
	}
	r.now[key] = value
}

// rotate begins a new half, in the memory of the older one: to let a map grow again costs more than to clear it.
func (r *Map[K, V]) rotate() {
	for key := range r.before {
		if _, newer := r.now[key]; !newer {
			r.evicted++
		}
	}
	r.before, r.now = r.now, r.before
	if r.now == nil {
		r.now = make(map[K]V, MapSize/2)
	}
	clear(r.now)
}

// Keep returns what is remembered under a key, or else what first makes, and remembers it.
func (r *Map[K, V]) Keep(key K, first func() V) V {
	value, ok := r.now[key]
	if ok {
		return value
	}
	if value, ok = r.before[key]; !ok {
		value = first()
	}
	r.Put(key, value)
	return value
}

// Delete forgets a thing.
func (r *Map[K, V]) Delete(key K) {
	delete(r.now, key)
	delete(r.before, key)
}

// DeleteFunc forgets the things whose keys the function picks.
func (r *Map[K, V]) DeleteFunc(picks func(K) bool) {
	for _, half := range []map[K]V{r.now, r.before} {
		maps.DeleteFunc(half, func(key K, _ V) bool { return picks(key) })
	}
}

// Expire forgets the things that are old.
func (r *Map[K, V]) Expire(old func(V) bool) {
	for _, half := range []map[K]V{r.now, r.before} {
		maps.DeleteFunc(half, func(_ K, value V) bool { return old(value) })
	}
}

// Len is how many things are remembered at the most: some may be counted twice.
func (r *Map[K, V]) Len() int { return len(r.now) + len(r.before) }

// All returns what is remembered, in no order.
func (r *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, value := range r.now {
			if !yield(key, value) {
				return
			}
		}
		for key, value := range r.before {
			if _, newer := r.now[key]; !newer && !yield(key, value) {
				return
			}
		}
	}
}

// Evicted is how many things were forgotten to make room.
func (r *Map[K, V]) Evicted() uint64 { return r.evicted }
