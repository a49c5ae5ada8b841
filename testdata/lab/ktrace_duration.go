// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"os"
	"slices"
	"time"
)

// duration is how long a diagnose lasts, which reports at its end. On a busy machine a test's traffic begins late and takes
// long: a run must not end before it, nor before the rules have seen what follows, but on a quiet one last no longer than
// the test says.
type duration struct {
	least    time.Duration // since it was attached
	attached time.Time
}

// settles is what of its duration a run lasts at least when the traffic is over, but no longer than settlesFor.
const (
	settles    = 2 // half of it
	settlesFor = 3 * time.Second
)

// lasting takes --duration from the arguments of a diagnose: the test ends it. With --until-certain it ends by itself.
func lasting(args []string) ([]string, *duration) {
	i := slices.Index(args, "--duration")
	if args[0] != "diagnose" || i < 0 || slices.Contains(args, "--until-certain") {
		return args, nil
	}
	least, err := time.ParseDuration(args[i+1])
	if err != nil || least >= patience {
		return args, nil // the test ends it anyway
	}
	args = slices.Clone(args)
	args[i+1] = "1h"
	return args, &duration{least: least}
}

// ending begins what until says, now that ktrace is attached.
func (r *Run) ending(until *duration) *Run {
	if r.until = until; until != nil {
		until.attached = time.Now()
	}
	return r
}

// endInTime ends a run when it has lasted as long as it is to, now that the traffic is over.
func (r *Run) endInTime() {
	r.t.Helper()
	if r.until == nil {
		return
	}
	settled := min(r.until.least/settles, settlesFor)
	time.Sleep(max(time.Until(r.until.attached.Add(r.until.least)), settled)) // what --duration is
	r.interrupt()
	r.until = nil
}

// interrupt asks ktrace once to end: a second time it would not wait for its report.
func (r *Run) interrupt() {
	r.t.Helper()
	if r.over {
		return
	}
	r.over = true
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Fatal(err)
	}
}
