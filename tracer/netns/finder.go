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

	"ktrace/tracer/procfs"
)

// Finder finds the network namespaces of a node by their inode numbers: through the files that hold one open and through
// processes. It keeps none of them open: a pod's devices must go when the pod does. It is not safe for concurrent use.
type Finder struct {
	node   *procfs.FS
	paths  map[uint32]string
	missed map[uint32]time.Time // namespaces that were not found, and when
}

const (
	missedFor = 1 * time.Second // before a namespace is looked for again
	maxMissed = 1024            // remembered at a time
)

// ErrGone is returned for a namespace without a process or mount that it could be opened by.
var ErrGone = errors.New("network namespace is gone or cannot be entered")

// NewFinder returns a Finder of the namespaces of a node.
func NewFinder(node *procfs.FS) *Finder {
	return &Finder{node: node, paths: map[uint32]string{}, missed: map[uint32]time.Time{}}
}

// Node is the node whose namespaces are found.
func (f *Finder) Node() *procfs.FS { return f.node }

// Open opens a namespace by its inode number. The error is ErrGone if it is not found.
func (f *Finder) Open(inode uint32) (*Space, error) {
	if s := f.at(inode); s != nil {
		return s, nil
	}
	if time.Since(f.missed[inode]) >= missedFor {
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

// Inodes looks for all namespaces that there are now, and returns their numbers.
func (f *Finder) Inodes() []uint32 {
	f.look()
	return slices.Collect(maps.Keys(f.paths))
}

// at opens the namespace at the path where it was found if it is still there.
func (f *Finder) at(inode uint32) *Space {
	path := f.paths[inode]
	if path == "" {
		return nil
	}
	s, err := Open(path)
	if err != nil {
		return nil
	}
	if s.Inode != inode {
		_ = s.Close() // was only looked at
		return nil
	}
	return s
}

func (f *Finder) look() {
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
