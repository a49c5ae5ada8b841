// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/pod"
	"ktrace/decoder/printable"
)

// newPods is the verb that lists what ktrace knows of this node's pods, and by whom.
func newPods(s replay.Streams) *cobra.Command {
	var f flags.Flags
	c := &cobra.Command{
		Use:   "pods",
		Short: "the pods of this node as ktrace knows them, with the source of each fact",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := f.Validate(); err != nil {
				return err
			}
			pods, err := live.Pods(f)
			if err != nil {
				return err
			}
			if f.Output == "json" {
				return podsJSON(s.Out, pods)
			}
			return podsText(s.Out, pods, f.NoHeader)
		},
	}
	f.AddPods(c.Flags())
	return c
}

func podsJSON(w io.Writer, pods []pod.Info) error {
	enc := json.NewEncoder(printable.NewJSON(w))
	for _, p := range pods {
		line := struct {
			V    int    `json:"v"`
			Type string `json:"type"`
			pod.Info
		}{1, "pod", p}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// podsText writes a line a pod and one a container below it.
func podsText(w io.Writer, pods []pod.Info, noHeader bool) error {
	w = printable.NewLines(w)
	const row = "%-40s %-12s %-12s %-6s %-24s %s\n"
	var errs []error
	line := func(cells ...any) {
		_, err := fmt.Fprintf(w, row, cells...)
		errs = append(errs, err)
	}
	if !noHeader {
		line("POD", "CGROUP", "NETNS", "VETH", "ADDRESSES", "KNOWN BY")
	}
	for _, p := range pods {
		line(podTitle(p), ids(p.Cgroups), orDash(network(p)), orDash(number(p.Veth)), orDash(joined(p.Addrs)), known(p.Sources))
		for _, c := range p.Containers {
			line("  "+containerTitle(c), ids(c.Cgroups), "", "", "", orDash(c.Source))
		}
	}
	return errors.Join(errs...)
}

func podTitle(p pod.Info) string {
	name := cmp.Or(p.Name, p.UID)
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	if p.Static {
		name += " (static)"
	}
	return printable.Text(name)
}

func containerTitle(c *pod.Container) string {
	const short = 12
	title := c.ID[:min(len(c.ID), short)]
	switch {
	case c.Sandbox:
		title = "(sandbox) " + title
	case c.Name != "":
		title = c.Name + " " + title
	}
	if c.Gone {
		title += " (ended)"
	}
	return printable.Text(title)
}

func network(p pod.Info) string {
	if p.HostNetwork {
		return "host"
	}
	return number(p.Netns)
}

func number(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func ids(cgroups []uint64) string { return orDash(joined(cgroups)) }

func joined[T any](all []T) string {
	parts := make([]string, len(all))
	for i, x := range all {
		parts[i] = fmt.Sprint(x)
	}
	return strings.Join(parts, ",")
}

func known(sources map[string]string) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(sources)) {
		parts = append(parts, what+": "+sources[what])
	}
	return orDash(strings.Join(parts, ", "))
}

func orDash(s string) string { return cmp.Or(s, "-") }
