package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/cli"
)

// recordedView is a verb's view over a file instead of a live node.
type recordedView struct {
	name string
	// declare adds the verb's own flags, as far as they say how to look and not what to watch. What it returns makes
	// the view once they are parsed.
	declare func(*pflag.FlagSet) func() (cli.View, error)
}

// recordedViews has a row for every verb that can look at a file.
func recordedViews() []recordedView {
	return []recordedView{
		{"dns", func(fs *pflag.FlagSet) func() (cli.View, error) {
			var f dnsFlags
			f.add(fs)
			return func() (cli.View, error) { return f.view(), f.validate() }
		}},
		{"drop", func(fs *pflag.FlagSet) func() (cli.View, error) {
			var f dropFlags
			f.add(fs)
			return func() (cli.View, error) { return f.view(), nil }
		}},
		{"nat", func(fs *pflag.FlagSet) func() (cli.View, error) {
			var f natFlags
			f.add(fs)
			return func() (cli.View, error) { return f.view(), nil }
		}},
		{"mtu", func(*pflag.FlagSet) func() (cli.View, error) {
			return func() (cli.View, error) { return mtuView(), nil }
		}},
		{"diagnose", func(*pflag.FlagSet) func() (cli.View, error) {
			return func() (cli.View, error) { return diagnoseView(), nil }
		}},
		{"reset", func(*pflag.FlagSet) func() (cli.View, error) {
			return func() (cli.View, error) { return resetView(), nil }
		}},
		{"fsync", func(fs *pflag.FlagSet) func() (cli.View, error) {
			var o fsyncOptions
			o.addView(fs)
			return func() (cli.View, error) {
				v, _ := fsyncView(o)
				return v, o.validateView()
			}
		}},
	}
}

// newRead is the verb that looks at a recording as the others look at a live node.
func newRead(s cli.Streams) *cobra.Command {
	names := make([]string, 0, len(recordedViews()))
	for _, v := range recordedViews() {
		names = append(names, v.name)
	}
	return &cobra.Command{
		Use:   "read FILE VIEW",
		Short: "the same views over a recording, no privileges needed",
		Long: fmt.Sprintf(`Shows what --record FILE kept as the verb showed it live, and concludes the same.
FILE may be -, standard input. VIEW is one of: %s.`, strings.Join(names, ", ")),
		DisableFlagParsing: true, // which flags there are, the view decides
		RunE: func(c *cobra.Command, args []string) error {
			i := slices.IndexFunc(args, func(a string) bool { return slices.Contains(names, a) })
			switch {
			case slices.Contains(args, "--help") && i < 0, slices.Contains(args, "-h") && i < 0:
				return c.Help()
			case i != 1:
				return cli.Usagef("want one file and then a view of it (%s); see \"%s --help\"", strings.Join(names, ", "), c.CommandPath())
			}
			return readAs(c.Context(), args[0], args[i:], s)
		},
	}
}

// readAs runs a view over a file: args are its name and flags.
func readAs(ctx context.Context, file string, args []string, s cli.Streams) error {
	views := recordedViews()
	v := views[slices.IndexFunc(views, func(v recordedView) bool { return v.name == args[0] })]
	var flags cli.Flags
	c := &cobra.Command{
		Use:           "ktrace read FILE " + v.name,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
	}
	c.SetOut(s.Out)
	c.SetErr(s.Err)
	c.SetArgs(args[1:])
	c.SetFlagErrorFunc(flagError)
	flags.Add(c.Flags())
	view := v.declare(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := flags.Validate(); err != nil {
			return err
		}
		made, err := view()
		if err != nil {
			return err
		}
		return readFile(c.Context(), file, flags, made, s)
	}
	return c.ExecuteContext(ctx)
}

func readFile(ctx context.Context, name string, flags cli.Flags, v cli.View, s cli.Streams) (err error) {
	in := os.Stdin
	if name != "-" {
		if in, err = os.Open(name); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
	}
	if err := cli.Replay(ctx, flags, v, in, s); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
