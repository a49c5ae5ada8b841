// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
)

// newVersion is the verb that prints the version, as --version does.
func newVersion(s replay.Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.Out, "ktrace version "+flags.Version())
			return err
		},
	}
}
