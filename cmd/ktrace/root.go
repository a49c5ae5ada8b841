package main

import (
	"github.com/spf13/cobra"

	"ktrace/cmd/internal/cli"
)

// newRoot is the whole command line: one verb a file.
func newRoot(s cli.Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "ktrace",
		Short:         "tells why a Kubernetes node's network or disk fails a pod",
		Version:       cli.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newDoctor(s), newPods(s), newFsync(s), newDrop(s), newNAT(s), newMTU(s), newDiagnose(s), newReset(s), newDNS(s), newRead(s), newCapture(s), newExtcap(s), newVersion(s))
	for _, sub := range root.Commands() {
		sub.Args = usage(sub.Args)
	}
	root.Args = usage(root.Args)
	return root
}

// flagError says where the flags are explained.
func flagError(c *cobra.Command, err error) error {
	return cli.Usagef("%v; see \"%s --help\"", err, c.CommandPath())
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
