// SPDX-License-Identifier: Apache-2.0

package bounded

import (
	"container/heap"
	"iter"
	"net/netip"
)

// Owner is on whose account an entry of a Pool or a Table is: the network namespace that its traffic was first seen to leave, or
// in a capture, which has no namespaces, the address that sent it. An address can be forged, a namespace cannot: take the
// address only where there is nothing else.
type Owner struct {
	Netns uint32
	Addr  netip.Addr
}

// Pool holds entries up to a size in all. An entry too many evicts the oldest one of the owner that holds the most, so that
// who floods loses entries of its own. Everything but All takes a time logarithmic in the number of owners.
type Pool[V any] struct {
	// Most is the size of all entries together, in the unit of the entries' sizes: bytes, or 1 an entry.
	Most int
	// Newest has the newest entry of that owner evicted, where an old one is worth more: it has waited for long.
	Newest bool
	// Evict, if it is not nil, is called with each value that is evicted, after it is out of the pool. It may remove others.
	Evict func(V)

	owners  map[Owner]*account[V]
	largest accounts[V] // a heap
	size    int
	count   int
	added   uint64
	evicted uint64
}

// Entry is one thing in a Pool, until it is removed or evicted. To remove it again does nothing.
type Entry[V any] struct {
	Value      V
	size       int
	age        uint64      // Pool.added when it was added or touched
	account    *account[V] // nil once it is out
	prev, next *Entry[V]   // in the account, the older and the newer
}

// Held reports whether the entry is in a pool; a nil one is not.
func (e *Entry[V]) Held() bool { return e != nil && e.account != nil }

// account is what one owner holds.
type account[V any] struct {
	pool        *Pool[V]
	owner       Owner
	size        int
	index       int // in the heap
	first, last *Entry[V]
}

// Add takes in a thing of a size. If it is larger than what any other owner holds it may be evicted at once, before Add returns.
func (p *Pool[V]) Add(owner Owner, value V, size int) *Entry[V] {
	a := p.owners[owner]
	if a == nil {
		if p.owners == nil {
			p.owners = map[Owner]*account[V]{}
		}
		a = &account[V]{pool: p, owner: owner}
		p.owners[owner] = a
		heap.Push(&p.largest, a)
	}
	e := &Entry[V]{Value: value, size: size}
	p.link(e, a)
	p.count++
	p.bound()
	return e
}

// Resize has an entry count for another size, and as the owner's newest if it grows. It may be evicted at once, as by Add.
func (p *Pool[V]) Resize(e *Entry[V], size int) {
	if !e.Held() || size == e.size {
		return
	}
	a, grows := e.account, size > e.size
	a.size += size - e.size
	p.size += size - e.size
	e.size = size
	if grows {
		p.Touch(e)
	} else {
		heap.Fix(&p.largest, a.index)
	}
	p.bound()
}

// Touch has an entry be its owner's newest.
func (p *Pool[V]) Touch(e *Entry[V]) {
	if a := e.account; a != nil {
		p.unlink(e)
		p.link(e, a)
	}
}

// Remove takes an entry out, which is no eviction. It does nothing with one that is not in this pool.
func (p *Pool[V]) Remove(e *Entry[V]) {
	if !e.Held() || e.account.pool != p {
		return
	}
	a := e.account
	p.unlink(e)
	e.account = nil
	p.count--
	if a.first == nil {
		heap.Remove(&p.largest, a.index)
		delete(p.owners, a.owner)
	}
}

// All yields what is held, the owners in no order, each one's oldest first. What is yielded may be removed meanwhile.
func (p *Pool[V]) All() iter.Seq[*Entry[V]] {
	return func(yield func(*Entry[V]) bool) {
		for _, a := range p.owners {
			for e := a.first; e != nil; {
				next := e.next
				if !yield(e) {
					return
				}
				e = next
			}
		}
	}
}

// Len is how many entries there are.
func (p *Pool[V]) Len() int { return p.count }

// Size is that of all entries together.
func (p *Pool[V]) Size() int { return p.size }

// Evicted is how many entries were evicted so far.
func (p *Pool[V]) Evicted() uint64 { return p.evicted }

func (p *Pool[V]) bound() {
	for p.size > p.Most && p.count > 0 {
		e := p.largest[0].first
		if p.Newest {
			e = p.largest[0].last
		}
		p.Remove(e)
		p.evicted++
		if p.Evict != nil {
			p.Evict(e.Value)
		}
	}
}

// link makes an entry the newest of an account.
func (p *Pool[V]) link(e *Entry[V], a *account[V]) {
	p.added++
	e.age, e.account = p.added, a
	e.prev, e.next = a.last, nil
	if a.last != nil {
		a.last.next = e
	} else {
		a.first = e
	}
	a.last = e
	a.size += e.size
	p.size += e.size
	heap.Fix(&p.largest, a.index)
}

// unlink takes an entry out of its account, which may then be empty.
func (p *Pool[V]) unlink(e *Entry[V]) {
	a := e.account
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		a.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		a.last = e.prev
	}
	e.prev, e.next = nil, nil
	a.size -= e.size
	p.size -= e.size
	heap.Fix(&p.largest, a.index)
}

// accounts are a heap: the one that holds the most is the first; among equals, the one with the oldest entry.
type accounts[V any] []*account[V]

func (h accounts[V]) Len() int { return len(h) }

func (h accounts[V]) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.size != b.size || a.first == nil || b.first == nil {
		return a.size > b.size
	}
	return a.first.age < b.first.age
}

func (h accounts[V]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *accounts[V]) Push(x any) {
	a := x.(*account[V])
	a.index = len(*h)
	*h = append(*h, a)
}

func (h *accounts[V]) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return a
}
