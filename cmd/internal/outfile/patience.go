// SPDX-License-Identifier: Apache-2.0

package outfile

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// patience is how long a write may still take once the run is to end.
const patience = 150 * time.Millisecond

// ErrNotRead is returned for what is not written at the end of a run because who reads it does not.
var ErrNotRead = errors.New("its reader does not read: what was left is not written")

// Until returns a writer on w whose writes end with the run: once done is closed, one that takes longer than a moment fails,
// and so do all after it. A write that blocks is given up, not undone, so w must not be used otherwise afterwards.
func Until(done <-chan struct{}, w io.Writer) io.Writer { return &until{Writer: w, done: done} }

type until struct {
	io.Writer
	done <-chan struct{}
	gone atomic.Bool
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
	select {
	case r := <-written:
		return r.n, r.err
	case <-time.After(patience):
		u.gone.Store(true)
		return 0, ErrNotRead
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
