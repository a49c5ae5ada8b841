// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"maps"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/savefile"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/eventfilter"
	"ktrace/decoder/stage"
	"ktrace/tracer/boot"
)

// flightOptions are the flags of the flight recorder.
type flightOptions struct {
	megabytes uint32
	after     time.Duration
	triggers  []string
	watched   diagnosis

	findings map[string]bool // ids that fire; "" is any above information
	signal   bool
	packets  *eventfilter.FrameFilter
}

// Values of --trigger, beside an expression.
const (
	onFinding = "finding"
	onSignal  = "signal"
)

func (o *flightOptions) add(f *pflag.FlagSet) {
	f.Uint32Var(&o.megabytes, "ring", 0, "flight recorder: keep the last so many millions of bytes in memory until --trigger")
	f.StringArrayVar(&o.triggers, "trigger", []string{onFinding}, "with --ring, what has the packets written: finding, finding:ID, signal, or a FILTER (repeatable)")
	o.watched.add(f)
	f.DurationVar(&o.after, "after", time.Second, "with --ring, for how long what follows is written too")
}

// validate reads the triggers.
func (o *flightOptions) validate(c *captureOptions) error {
	switch {
	case o.megabytes == 0:
		return nil
	case c.Write == "" || c.Write == "-":
		return flags.Usagef("--ring writes files when something fires: it needs -w FILE")
	case c.size > 0 || c.every > 0:
		return flags.Usagef("--ring begins a file when something fires, -C and -G by size and time: want one of them")
	case c.Count > 0:
		return flags.Usagef("--ring keeps the newest packets, -c the first: want one of them")
	case uint64(o.megabytes) > memory():
		return flags.Usagef("--ring %d: this machine has %d millions of bytes of memory: want fewer", o.megabytes, memory())
	case o.after < 0:
		return flags.Usagef("--after %v: want a time, as in 2s", o.after)
	}
	o.findings = map[string]bool{}
	for _, text := range o.triggers {
		id, one := strings.CutPrefix(text, onFinding+":")
		switch {
		case text == onFinding:
			o.findings[""] = true
		case one && !slices.Contains(diagnose.IDs(), id):
			return flags.Usagef("--trigger %s: there is no such finding; want one of %s", text, strings.Join(diagnose.IDs(), ", "))
		case one:
			o.findings[id] = true
		case text == onSignal:
			o.signal = true
		case o.packets != nil:
			return flags.Usagef("--trigger %q: there is an expression already; join them by \"or\"", text)
		default:
			expr, err := flags.ParseFilter([]string{text})
			if err != nil {
				return err
			}
			if o.packets, err = eventfilter.NewFrameFilter(expr); err != nil {
				return err
			}
		}
	}
	return nil
}

// completeTrigger lists for a shell what --trigger takes, but for expressions.
func completeTrigger(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all := []cobra.Completion{
		cobra.CompletionWithDesc(onFinding, "any finding above information"),
		cobra.CompletionWithDesc(onSignal, "SIGUSR2"),
	}
	for _, row := range diagnose.Rows() {
		all = append(all, cobra.CompletionWithDesc(onFinding+":"+row.ID, row.Meaning))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// memory is how much this machine has, in millions of bytes.
func memory() uint64 {
	const million = 1_000_000
	var is unix.Sysinfo_t
	if err := unix.Sysinfo(&is); err != nil {
		return math.MaxInt64 / million // not known, so as far as numbers go
	}
	return is.Totalram * uint64(is.Unit) / million
}

// recorder is what the options mean; stop lets go of the signal.
func (o *flightOptions) recorder() (f *savefile.FlightOptions, stop func()) {
	const million = 1_000_000
	f = &savefile.FlightOptions{Bytes: int(o.megabytes) * million, After: o.after, Trigger: &savefile.Trigger{}, Packets: o.packets}
	if !o.signal {
		return f, func() {}
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR2)
	go func() {
		for range c {
			f.Trigger.FireAt(boot.Now(), "SIGUSR2")
		}
	}()
	return f, func() {
		signal.Stop(c)
		close(c)
	}
}

// watch is the view that finds what diagnose finds, if any of it is waited for, and has it fire. It shows findings as
// they come: there is no end to wait for.
func (o *flightOptions) watch(f flags.Flags, t *savefile.Trigger) (v live.View, done func() error, err error) {
	if len(o.findings) == 0 {
		return live.View{}, func() error { return nil }, nil
	}
	o.watched.window = diagnoseFor
	v, done, err = o.watched.live(f, true)
	var rules []stage.Rule
	for _, rule := range v.Rules {
		if x, ok := rule.(*diagnose.Inhibitor); ok {
			rules = append(rules, x.Rules()...)
		} else {
			rules = append(rules, rule)
		}
	}
	v.Rules, v.Hold = nil, false
	for _, rule := range rules {
		v.Rules = append(v.Rules, &firing{Rule: rule, wanted: o.wanted, fire: t.Fire, last: map[firingKey]time.Time{}})
	}
	return v, done, err
}

func (o *flightOptions) wanted(f event.Finding) bool {
	return o.findings[f.ID] || o.findings[""] && f.Severity.AtLeast(event.Warning)
}

// firing is a rule whose findings have packets written. One that is found again and again fires once, and again when
// it was away for a while.
type firing struct {
	stage.Rule
	wanted func(event.Finding) bool
	fire   func(why string)
	last   map[firingKey]time.Time
}

type firingKey struct{ id, subject string }

const firingAgain = time.Minute

// Observe implements stage.Rule.
func (r *firing) Observe(e event.Event) []event.Finding { return r.look(r.Rule.Observe(e)) }

// Flush implements stage.Rule.
func (r *firing) Flush(now time.Time, final bool) []event.Finding {
	maps.DeleteFunc(r.last, func(_ firingKey, at time.Time) bool { return now.Sub(at) > firingAgain })
	return r.look(r.Rule.Flush(now, final))
}

func (r *firing) look(found []event.Finding) []event.Finding {
	for _, f := range found {
		if !r.wanted(f) {
			continue
		}
		key := firingKey{f.ID, f.Subject}
		if before, ok := r.last[key]; !ok || f.Time.Sub(before) > firingAgain {
			r.fire(f.ID + ": " + f.Title)
		}
		r.last[key] = f.Time
	}
	return found
}
