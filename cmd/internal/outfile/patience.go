// SPDX-License-Identifier: Apache-2.0

package outfile

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long who reads may take once the run is to end.
const patience = time.Second

// again is how often it is then looked at whether something is read: nothing says so.
const again = 20 * time.Millisecond

// ErrNotRead is returned for what is not written at the end of a run because who reads it does not.
var ErrNotRead = errors.New("its reader does not read: what was left is not written")

// Until returns a writer on w whose writes end with the run: once done is closed for longer than a moment, one that w has no
// room for fails, and so do all after it. One that there is room for is waited for: on a busy machine it is this process that
// has no CPU. A write that blocks is given up, not undone, so w must not be used otherwise afterwards.
func Until(done <-chan struct{}, w io.Writer) io.Writer { return &until{Writer: w, done: done} }

type until struct {
	io.Writer
	done  <-chan struct{}
	begun sync.Once
	end   time.Time // of patience; once done is closed
	gone  atomic.Bool
}

// Unwrap returns the writer that is written on.
func (u *until) Unwrap() io.Writer { return u.Writer }

// Write implements io.Writer.
func (u *until) Write(b []byte) (int, error) {
	if u.gone.Load() {
		return 0, ErrNotRead
	}
	type result struct {
		n   int
		err error
	}
	written := make(chan result, 1)
	go func() {
		n, err := u.Writer.Write(b)
		written <- result{n, err}
	}()
	select {
	case r := <-written:
		return r.n, r.err
	case <-u.done:
	}
	u.begun.Do(func() { u.end = time.Now().Add(patience) })
	for {
		select {
		case r := <-written:
			return r.n, r.err
		case <-time.After(max(time.Until(u.end), again)):
			if file, ok := FileOf(u.Writer); !ok || full(file) {
				u.gone.Store(true)
				return 0, ErrNotRead
			}
		}
	}
}

// FileOf is the file that a writer writes on at last; false if it is none.
func FileOf(w io.Writer) (*os.File, bool) {
	for {
		if file, ok := w.(*os.File); ok {
			return file, true
		}
		wrapped, ok := w.(interface{ Unwrap() io.Writer })
		if !ok {
			return nil, false
		}
		w = wrapped.Unwrap()
	}
}
