// SPDX-License-Identifier: Apache-2.0

// Package interrupt ends the program by signals: the first ends the run cleanly, the second ends the process whatever
// the run waits for, and undoes before what the kernel would keep.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"time"
)

// How long the process lives after the second signal, which may be the same interrupt as the first: a shell and sudo both
// pass it on. Most runs end cleanly in that time.
const (
	endWithin  = 150 * time.Millisecond // before what the kernel would keep is undone
	undoWithin = time.Second            // takes some ms; on a busy machine the kernel's lock for devices is waited for, and filters must not stay
)

// Status is the exit status after the second signal.
const Status = 1

// undo is what has to be undone before the process ends.
type undo struct {
	lock sync.Mutex
	all  map[*func()]bool
}

type contextKey struct{}

// Notify returns a context that ends with the first of the signals. The second ends the process.
func Notify(parent context.Context, signals ...os.Signal) context.Context {
	u := &undo{all: map[*func()]bool{}}
	ctx, cancel := context.WithCancel(context.WithValue(parent, contextKey{}, u))
	came := make(chan os.Signal, 2)
	signal.Notify(came, signals...)
	go func() {
		<-came
		cancel()
		<-came
		time.Sleep(endWithin) // if the run ends meanwhile, so does the process
		u.run()
		os.Exit(Status)
	}()
	return ctx
}

// Undo has f called before the second signal ends the process, at any time and beside all that goes on, until forget is
// called. In a context that is not of Notify it is never called.
func Undo(ctx context.Context, f func()) (forget func()) {
	u, ok := ctx.Value(contextKey{}).(*undo)
	if !ok {
		return func() {}
	}
	u.lock.Lock()
	defer u.lock.Unlock()
	u.all[&f] = true
	return func() {
		u.lock.Lock()
		defer u.lock.Unlock()
		delete(u.all, &f)
	}
}

// run undoes everything at once, and waits no longer than it may.
func (u *undo) run() {
	enough := time.After(undoWithin)
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.lock.Lock()
		defer u.lock.Unlock()
		var all sync.WaitGroup
		for f := range u.all {
			all.Go(*f)
		}
		all.Wait()
	}()
	select {
	case <-done:
	case <-enough:
	}
}
