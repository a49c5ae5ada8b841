// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"os"
	"slices"
	"time"
)

// duration is how long a diagnose lasts, which reports at its end: until the traffic is over, however long a busy machine takes
// for that, and the rules have seen what follows.
type duration struct{ settles time.Duration }

// lasting takes --duration from the arguments of a diagnose: the test ends it, half as long behind the traffic. With
// --until-certain it ends by itself.
func lasting(args []string) ([]string, *duration) {
	i := slices.Index(args, "--duration")
	if args[0] != "diagnose" || i < 0 || slices.Contains(args, "--until-certain") {
		return args, nil
	}
	whole, err := time.ParseDuration(args[i+1])
	if err != nil || whole >= patience {
		return args, nil // the test ends it anyway
	}
	args = slices.Clone(args)
	args[i+1] = "1h"
	return args, &duration{whole / 2}
}

// ending begins what until says, now that ktrace is attached.
func (r *Run) ending(until *duration) *Run {
	r.until = until
	return r
}

// endInTime ends a run when it has lasted as long as it is to, now that the traffic is over.
func (r *Run) endInTime() {
	r.t.Helper()
	if r.until == nil {
		return
	}
	time.Sleep(r.until.settles) // what --duration is
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
