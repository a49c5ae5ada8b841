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
// pass it on. Most runs end cleanly in the shorter time, in which what the kernel would keep is undone beside: 200 filters take 20 ms.
// Only where the kernel's lock for devices is held by others all the while does it take longer, for filters must not stay.
const (
	endWithin  = 150 * time.Millisecond
	undoWithin = time.Second
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
		undone := u.run()
		late := time.After(undoWithin)
		time.Sleep(endWithin) // if the run ends meanwhile, so does the process
		select {
		case <-undone:
		case <-late:
		}
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

// run undoes everything at once, and says when that is done.
func (u *undo) run() (done chan struct{}) {
	done = make(chan struct{})
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
	return done
}
