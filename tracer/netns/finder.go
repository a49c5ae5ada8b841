// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/tracer/procfs"
)

// Finder finds the network namespaces of a node by their inode numbers: through the files that hold one open and through
// processes. It keeps none of them open: a pod's devices must go when the pod does. It is not safe for concurrent use.
type Finder struct {
	node   *procfs.FS
	paths  map[uint32]string
	missed map[uint32]time.Time // namespaces that were not found, and when
	ids    map[uint32]identity  // of those that were opened or announced

	once, looked bool // see Once
}

// identity is which namespace has an inode number.
type identity struct {
	cookie    uint64
	announced bool // by the kernel half; else it is the one that was opened first
}

const (
	missedFor = 1 * time.Second // before a namespace is looked for again
	maxMissed = 1024            // remembered at a time
	maxIDs    = 1 << 16
)

// ErrGone is returned for a namespace without a process or mount that it could be opened by.
var ErrGone = errors.New("network namespace is gone or cannot be entered")

// NewFinder returns a Finder of the namespaces of a node.
func NewFinder(node *procfs.FS) *Finder {
	return &Finder{node: node, paths: map[uint32]string{}, missed: map[uint32]time.Time{}, ids: map[uint32]identity{}}
}

// Node is the node whose namespaces are found.
func (f *Finder) Node() *procfs.FS { return f.node }

// Open opens a namespace by its inode number. The error is ErrGone if it is not found, or
// if the number is another namespace's by now.
func (f *Finder) Open(inode uint32) (*Handle, error) {
	if s := f.at(inode); s != nil {
		return s, nil
	}
	if time.Since(f.missed[inode]) >= missedFor && !(f.once && f.looked) {
		f.look()
		if s := f.at(inode); s != nil {
			return s, nil
		}
		if len(f.missed) >= maxMissed {
			clear(f.missed)
		}
		f.missed[inode] = time.Now()
	}
	return nil, fmt.Errorf("%w: %d", ErrGone, inode)
}

// Once has what Open does while do runs look for namespaces once at most: a walk over all processes for each of many that are
// gone takes long.
func (f *Finder) Once(do func()) {
	f.once, f.looked = true, false
	defer func() { f.once = false }()
	do()
}

// Inodes looks for all namespaces that there are now, and returns their numbers.
func (f *Finder) Inodes() []uint32 {
	f.look()
	return slices.Collect(maps.Keys(f.paths))
}

// at opens the namespace at the path where it was found if it is still there.
func (f *Finder) at(inode uint32) *Handle {
	path := f.paths[inode]
	if path == "" {
		return nil
	}
	s, err := Open(path)
	if err != nil {
		return nil
	}
	if s.Inode != inode || !f.same(s) {
		_ = s.Close() // was only looked at
		return nil
	}
	return s
}

// same reports whether a namespace is the one that had its inode number when the number was first opened, or announced last.
// Where the kernel has no cookies, it is taken to be.
func (f *Finder) same(s *Handle) bool {
	cookie, err := s.Cookie()
	if err != nil {
		return true
	}
	known, ok := f.ids[s.Inode]
	if !ok {
		f.remember(s.Inode, identity{cookie: cookie})
		return true
	}
	return known.cookie == cookie
}

func (f *Finder) remember(inode uint32, id identity) {
	if len(f.ids) >= maxIDs {
		clear(f.ids)
	}
	f.ids[inode] = id
}

// Learn takes in which namespace has an inode number from now on, if that is the fact. A caller that looks up namespaces of
// records must have its Finder learn from the facts among them.
func (f *Finder) Learn(fact event.Fact) {
	if fact.Identity == nil {
		return
	}
	delete(f.missed, fact.Identity.Inode)
	if cookie, ok := fact.Identity.Cookie(); ok {
		f.remember(fact.Identity.Inode, identity{cookie, true})
	} else {
		delete(f.ids, fact.Identity.Inode)
	}
}

// Identity is the fact which namespace has an inode number, if one was opened by it and none was announced.
func (f *Finder) Identity(inode uint32) (event.Fact, bool) {
	id, ok := f.ids[inode]
	return event.Fact{Identity: &event.NetnsIdentity{Inode: inode, ID: id.cookie}}, ok && !id.announced
}

func (f *Finder) look() {
	f.looked = true
	clear(f.paths)
	for path := range f.all() {
		if inode, err := Inode(path); err == nil && f.paths[inode] == "" {
			f.paths[inode] = path
		}
	}
}

// all yields the files of network namespaces: first bind mounts, then those of the processes. More than one may be of the
// same.
func (f *Finder) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, held := range []string{"run/netns/*", "run/docker/netns/*"} {
			names, _ := filepath.Glob(filepath.Join(f.node.HostRoot(), held)) // the pattern is well formed
			for _, name := range names {
				if !yield(name) {
					return
				}
			}
		}
		for p := range f.node.Processes() {
			if !yield(p.NamespacePath("net")) {
				return
			}
		}
	}
}
