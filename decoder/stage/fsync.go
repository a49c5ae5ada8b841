// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"cmp"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// slowestKept is how many of the slowest syncs are listed one by one.
const slowestKept = 10

// Fsync keeps the slowest syncs and the counts of all, and passes on those that are to be shown.
type Fsync struct {
	// Slow is the latency from which on a sync is shown; 0 shows none but those that returned an error.
	Slow time.Duration
	// Silent has the summary say nothing of syncs: the run is about more than them.
	Silent bool
	// Floor is called with the latency below which a sync can be neither shown nor among the slowest, whenever it rises, so
	// that the kernel half need not send such. nil for a recording.
	Floor func(time.Duration)
	// Pod names the pod of a cgroup, for syncs in flight, which are no events; nil if none are known.
	Pod func(cgroup uint64) event.Pod

	scope   event.FsyncScope
	counts  event.FsyncCounts
	slowest []event.FsyncSlow // slowest first
	wall    time.Duration
	floor   time.Duration
	only    event.Single
}

// Observe implements Stage.
func (s *Fsync) Observe(e event.Event) []event.Event {
	switch body := e.Body.(type) {
	case event.Fact:
		s.learn(body)
	case event.Fsync:
		body.Path = s.scope.Locate(body)
		e.Body = body
		s.keep(e, body)
		if body.Error == "" && (s.Slow == 0 || body.Latency < s.Slow) {
			return nil
		}
	}
	return s.only.Event(e)
}

// Flush implements Stage.
func (s *Fsync) Flush(time.Time, bool) []event.Event { return nil }

func (s *Fsync) learn(f event.Fact) {
	if f.Node != nil {
		s.wall = f.Node.Wall
	}
	if f.Fsync == nil {
		return
	}
	if f.Fsync.Scope != nil {
		s.scope = *f.Fsync.Scope
	}
	if f.Fsync.Counts != nil {
		s.counts = *f.Fsync.Counts
	}
}

// keep puts a sync among the slowest if it is one of them.
func (s *Fsync) keep(e event.Event, f event.Fsync) {
	at, _ := slices.BinarySearchFunc(s.slowest, f.Latency, func(k event.FsyncSlow, latency time.Duration) int {
		return cmp.Compare(latency, k.Latency)
	})
	if at == slowestKept {
		return
	}
	s.slowest = slices.Insert(s.slowest, at, event.FsyncSlow{
		Time: e.Time, Pod: e.Pod, Process: e.Process(), Fsync: f,
	})
	if len(s.slowest) > slowestKept {
		s.slowest = s.slowest[:slowestKept]
	}
	s.raise()
}

// raise calls Floor when the floor has risen.
func (s *Fsync) raise() {
	if len(s.slowest) < slowestKept || s.Floor == nil {
		return
	}
	floor := s.slowest[slowestKept-1].Latency
	if s.Slow > 0 {
		floor = min(floor, s.Slow)
	}
	if floor > s.floor {
		s.floor = floor
		s.Floor(floor)
	}
}

// Forget begins anew with the slowest, as for a window of time that is judged by itself.
func (s *Fsync) Forget() {
	s.slowest, s.floor = nil, 0
	if s.Floor != nil {
		s.Floor(0)
	}
}

// Slowest returns the slowest sync of a class, if it is among the slowest of all.
func (s *Fsync) Slowest(class event.FsyncClass) (event.FsyncSlow, bool) {
	for _, k := range s.slowest {
		if k.Class == class {
			return k, true
		}
	}
	return event.FsyncSlow{}, false
}

// Summarize implements Summarizer. What a run shows of syncs is its histograms, so a sync that is counted in one is
// shown, unless its record was wanted and lost.
func (s *Fsync) Summarize(sum *event.Summary) {
	report := event.NewFsyncSummary(s.scope, s.counts)
	if c := s.counts.Counts; c.Seen > 0 {
		shown := report.Counted() + uint64(len(s.counts.InFlight)) - min(c.Lost.Ring, report.Counted())
		sum.Accounts = sum.Accounts.Instead(event.Account{
			Kind: event.KindFsync, Unit: event.UnitOf(event.KindFsync), Own: !s.Silent, Seen: c.Seen, Shown: shown, Filtered: c.Filtered, Lost: c.Lost,
		})
	}
	if s.Silent {
		return
	}
	report.Slowest = s.slowest
	for _, f := range s.counts.InFlight {
		stuck := event.FsyncStuck{
			Begun:   time.Unix(0, int64(f.Begun+s.wall)).UTC(),
			Age:     f.Age,
			Process: event.Process{PID: f.PID, TID: f.TID, Comm: f.Comm},
			Op:      f.Op,
			Class:   f.Class,
			Path:    f.Path,
		}
		if s.Pod != nil {
			stuck.Pod = s.Pod(f.Cgroup)
		}
		report.InFlight = append(report.InFlight, stuck)
	}
	sum.Fsync = report
}
