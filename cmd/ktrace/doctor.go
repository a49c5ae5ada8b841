package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/cli"
	"ktrace/tracer"
)

// newDoctor is the verb that says what this kernel and node allow.
func newDoctor(s cli.Streams) *cobra.Command {
	var output string
	var f cli.Flags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "what this kernel and node allow, what is missing, and what that costs",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if output != "text" && output != "json" {
				return cli.Usagef("--output %q: want text or json", output)
			}
			if err := tracer.Privileged(); err != nil {
				return err
			}
			checks, err := tracer.Examine()
			if err != nil {
				return err
			}
			sources, err := cli.Sources(f)
			if err != nil {
				return err
			}
			if output == "json" {
				return errors.Join(doctorJSON(s.Out, checks), sourcesJSON(s.Out, sources))
			}
			return errors.Join(doctorText(s.Out, checks), sourcesText(s.Out, sources, time.Now()))
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	f.AddNode(c.Flags())
	return c
}

// doctorCheck is one hook on this kernel, as JSON shows it; text shows no more.
type doctorCheck struct {
	V        int             `json:"v"`
	Type     string          `json:"type"`
	Probe    string          `json:"probe"`
	Hook     string          `json:"hook"`
	Variant  string          `json:"variant,omitempty"` // "" if this kernel takes none
	Costs    string          `json:"costs,omitempty"`
	Refusals []doctorRefusal `json:"refusals,omitempty"`
}

type doctorRefusal struct {
	Variant string `json:"variant"`
	Errno   string `json:"errno,omitempty"`
	Error   string `json:"error"`
}

func doctorChecks(taken []tracer.Taken) []doctorCheck {
	checks := make([]doctorCheck, 0, len(taken))
	for _, t := range taken {
		c := doctorCheck{V: 1, Type: "hook", Probe: t.Probe, Hook: t.Hook.Name, Costs: t.Hook.Without}
		if t.Variant != nil {
			c.Variant, c.Costs = t.Variant.Name, t.Variant.Costs
		}
		for _, r := range t.Refusals {
			refusal := doctorRefusal{Variant: r.Variant, Error: r.Err.Error()}
			if errno := syscall.Errno(0); errors.As(r.Err, &errno) {
				refusal.Errno = fmt.Sprintf("%d (%s)", int(errno), errno.Error())
			}
			c.Refusals = append(c.Refusals, refusal)
		}
		checks = append(checks, c)
	}
	return checks
}

func doctorJSON(w io.Writer, taken []tracer.Taken) error {
	enc := json.NewEncoder(w)
	for _, c := range doctorChecks(taken) {
		if err := enc.Encode(c); err != nil {
			return err
		}
	}
	return nil
}

func doctorText(w io.Writer, taken []tracer.Taken) error {
	for _, c := range doctorChecks(taken) {
		state := c.Variant
		if state == "" {
			state = "none"
		}
		if _, err := fmt.Fprintf(w, "%-10s %-34s %s\n", c.Probe, c.Hook, state); err != nil {
			return err
		}
		for _, r := range c.Refusals {
			fmt.Fprintf(w, "%10s refused %s: %s\n", "", r.Variant, r.Error)
		}
		if c.Costs != "" {
			fmt.Fprintf(w, "%10s costs: %s\n", "", c.Costs)
		}
	}
	return nil
}
