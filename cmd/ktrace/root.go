// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
)

// newRoot is the whole command line: one verb a file.
func newRoot(s replay.Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "ktrace",
		Short:         "finds why a Kubernetes node's network or disk fails a pod",
		Version:       flags.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newRead(s), newVersion(s))
	root.AddCommand(liveVerbs(s)...)
	for _, sub := range root.Commands() {
		sub.Args = usage(sub.Args)
	}
	root.Args = usage(root.Args)
	return root
}

// flagError adds to an error where the flags are documented.
func flagError(c *cobra.Command, err error) error {
	return flags.Usagef("%v; see \"%s --help\"", err, c.CommandPath())
}

// usage makes a wrong number of arguments, or an unknown verb, an error of usage.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		return nil
	}
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return flagError(c, err)
		}
		return nil
	}
}
