// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/spf13/pflag"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// fsyncOptions are the flags of the fsync verb.
type fsyncOptions struct {
	flags.Flags
	paths    []string
	limit    time.Duration
	strict   bool // the limit was given
	slow     time.Duration
	interval time.Duration
	allSync  bool
}

// syncLimit is what etcd wants 99 of 100 syncs of its log to be within.
const syncLimit = 10 * time.Millisecond

// addView declares the flags of the view, for live and for recorded syncs.
func (o *fsyncOptions) addView(fs *pflag.FlagSet) {
	fs.DurationVar(&o.slow, "slow", 0, "also show each sync that takes at least so long, as it happens")
	fs.DurationVar(&o.interval, "interval", 0, "also show the summary so far after so much time, again and again")
}

func (o *fsyncOptions) validate() error {
	if err := o.Validate(); err != nil {
		return err
	}
	for _, p := range o.paths {
		if p == "" || p[0] != '/' {
			return flags.Usagef("--path %q: want an absolute path, as in /var/lib/etcd", p)
		}
	}
	if o.limit <= 0 {
		return flags.Usagef("--limit %v: want a positive time, as in 10ms", o.limit)
	}
	return o.validateView()
}

func (o *fsyncOptions) validateView() error {
	if o.slow < 0 || o.interval < 0 {
		return flags.Usagef("--slow and --interval: want positive times, as in 10ms")
	}
	return nil
}

// fsyncView is the view of live and of recorded syncs.
func fsyncView(o fsyncOptions) (replay.View, *stage.Fsync) {
	st := &stage.Fsync{Slow: o.slow}
	rules := diagnose.NewRules(diagnose.Config{Kind: event.KindFsync, Slowest: st.Slowest, Pod: func(cgroup uint64) event.Pod { return st.Pod(cgroup) }})
	return replay.View{
		Kinds:  []event.Kind{event.KindFsync},
		Stages: []stage.Stage{st},
		Rules:  rules.Rules(),
		Every:  o.interval,
		Pods:   func(of func(uint64) event.Pod) { st.Pod = of },
	}, st
}
