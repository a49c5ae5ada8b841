// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"strings"
	"sync"
)

// slots are how many reads may hang in file systems that do not answer: each has a thread. One pod cannot take them all.
type slots struct {
	lock  sync.Mutex
	taken int
	by    map[string]int // owner
}

const (
	mostBusy   = 16
	mostBusyOf = 4 // of one owner
)

func newSlots() *slots { return &slots{by: map[string]int{}} }

// take takes one, unless all are taken, or the owner's.
func (s *slots) take(owner string) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.taken >= mostBusy || s.by[owner] >= mostBusyOf {
		return false
	}
	s.taken++
	s.by[owner]++
	return true
}

func (s *slots) release(owner string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.taken--
	if s.by[owner]--; s.by[owner] == 0 {
		delete(s.by, owner)
	}
}

// owner is whose the process is: the control group of its pod, else its own.
func (p Process) owner() string {
	groups, err := p.Cgroups()
	if err != nil || len(groups) == 0 {
		return "" // it has ended; such share their slots
	}
	path := groups[len(groups)-1].Path // the default hierarchy is listed last
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "pod") || strings.Contains(part, "-pod") {
			return strings.Join(parts[:i+1], "/")
		}
	}
	return path
}
