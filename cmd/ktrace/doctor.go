// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/printable"
	"ktrace/tracer"
	"ktrace/tracer/host"
)

// newDoctor is the verb that reports what this kernel and node allow.
func newDoctor(s replay.Streams) *cobra.Command {
	var output string
	var f flags.Flags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "what this kernel and node allow, what is missing, and its impact",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if output != "text" && output != "json" {
				return flags.Usagef("--output %q: want text or json", output)
			}
			// A missing feature is a result of doctor, not a failure.
			checks := tracer.Environment(f.BTF)
			sources, err := live.Sources(f)
			if err != nil {
				checks = append(checks, host.Check{Name: "pods", Found: err.Error(), Impact: "no names of pods"})
			}
			report := doctorReport{checks: doctorChecks(checks), hooks: doctorHooks(tracer.ProbeVariants(f.BTF))}
			if output == "json" {
				return errors.Join(report.json(s.Out), sourcesJSON(s.Out, sources))
			}
			return errors.Join(report.text(s.Out), sourcesText(s.Out, sources, time.Now()))
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	f.AddNode(c.Flags())
	f.AddBTF(c.Flags())
	return c
}

// doctorReport is the output of doctor; text shows no more than JSON.
type doctorReport struct {
	checks []doctorCheck
	hooks  []doctorHook
}

// doctorCheck is one thing about the machine.
type doctorCheck struct {
	V      int    `json:"v"`
	Type   string `json:"type"` // check
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Found  string `json:"found"`
	Impact string `json:"impact,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// doctorHook is one hook on this kernel.
type doctorHook struct {
	V        int             `json:"v"`
	Type     string          `json:"type"` // hook
	Probe    string          `json:"probe"`
	Hook     string          `json:"hook"`
	Variant  string          `json:"variant,omitempty"` // "" if this kernel takes none
	Lower    []string        `json:"lower,omitempty"`   // variants that would be tried next
	Impact   string          `json:"impact,omitempty"`
	Refusals []doctorRefusal `json:"refusals,omitempty"`
}

type doctorRefusal struct {
	Variant string `json:"variant"`
	Errno   string `json:"errno,omitempty"`
	Error   string `json:"error"`
}

func doctorChecks(found []host.Check) []doctorCheck {
	checks := make([]doctorCheck, 0, len(found))
	for _, c := range found {
		checks = append(checks, doctorCheck{1, "check", c.Name, c.OK, c.Found, c.Impact, c.Remedy})
	}
	return checks
}

func doctorHooks(taken []tracer.HookStatus) []doctorHook {
	hooks := make([]doctorHook, 0, len(taken))
	for _, t := range taken {
		h := doctorHook{V: 1, Type: "hook", Probe: t.Probe, Hook: t.Hook.Name, Impact: t.Hook.Without}
		if t.Variant != nil {
			h.Variant, h.Impact = t.Variant.Name, t.Variant.Impact
			for _, lower := range t.Hook.Variants[len(t.Errors)+1:] {
				h.Lower = append(h.Lower, lower.Name)
			}
		}
		for _, r := range t.Errors {
			refusal := doctorRefusal{Variant: r.Variant, Error: r.Err.Error()}
			if errno := syscall.Errno(0); errors.As(r.Err, &errno) {
				refusal.Errno = fmt.Sprintf("%d (%s)", int(errno), errno.Error())
			}
			h.Refusals = append(h.Refusals, refusal)
		}
		hooks = append(hooks, h)
	}
	return hooks
}

func (r doctorReport) json(w io.Writer) error {
	enc := json.NewEncoder(printable.NewJSON(w))
	for _, c := range r.checks {
		if err := enc.Encode(c); err != nil {
			return err
		}
	}
	for _, h := range r.hooks {
		if err := enc.Encode(h); err != nil {
			return err
		}
	}
	return nil
}

func (r doctorReport) text(w io.Writer) error {
	w = printable.NewLines(w)
	for _, c := range r.checks {
		mark := "ok"
		if !c.OK {
			mark = "!!"
		}
		if err := doctorLines(w, fmt.Sprintf("%s %-32s %s", mark, c.Name, c.Found), "impact", c.Impact, "remedy", c.Remedy); err != nil {
			return err
		}
	}
	for _, h := range r.hooks {
		mark, state := "ok", h.Variant
		if state == "" {
			mark, state = "!!", "none"
		}
		lines := []string{fmt.Sprintf("%s %-8s %-32s %s", mark, h.Probe, h.Hook, state), "impact", h.Impact}
		for _, refusal := range h.Refusals {
			lines = append(lines, "refused "+refusal.Variant, refusal.Error)
		}
		if err := doctorLines(w, lines[0], lines[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// doctorLines writes a heading and, indented, those of the named details that are not empty.
func doctorLines(w io.Writer, heading string, details ...string) error {
	if _, err := fmt.Fprintln(w, heading); err != nil {
		return err
	}
	for i := 0; i+1 < len(details); i += 2 {
		if details[i+1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "   %s: %s\n", details[i], details[i+1]); err != nil {
			return err
		}
	}
	return nil
}
