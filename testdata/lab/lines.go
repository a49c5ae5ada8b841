// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"io"
	"os"
	"sync"
	"time"
)

// lines are those that a ktrace wrote and its test has not taken yet. There is no bound, for ktrace must not wait for a test
// that looks at its lines last; and no room for more than there are, for a package starts a thousand ktraces.
type lines struct {
	mu    sync.Mutex
	all   []Line
	ended bool
	news  chan struct{} // holds one if there may be more
}

func newLines() *lines { return &lines{news: make(chan struct{}, 1)} }

func (q *lines) add(l Line) {
	q.mu.Lock()
	q.all = append(q.all, l)
	q.mu.Unlock()
	q.wake()
}

// end is that no more come.
func (q *lines) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.wake()
}

func (q *lines) wake() {
	select {
	case q.news <- struct{}{}:
	default: // is awake
	}
}

// next takes the next line, or waits for one until the limit. Errors are io.EOF at the end and os.ErrDeadlineExceeded.
func (q *lines) next(limit <-chan time.Time) (Line, error) {
	for {
		switch l, ok, ended := q.take(); {
		case ok:
			return l, nil
		case ended:
			return l, io.EOF
		}
		select {
		case <-q.news:
		case <-limit:
			return Line{}, os.ErrDeadlineExceeded
		}
	}
}

// take takes the first line if there is one, and says whether no other comes.
func (q *lines) take() (l Line, ok, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.all) == 0 {
		return l, false, q.ended
	}
	l, q.all = q.all[0], q.all[1:]
	return l, true, q.ended
}
