// SPDX-License-Identifier: Apache-2.0

// Command ktrace finds why a Kubernetes node's network or disk fails a pod.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/interrupt"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/layers"
)

func main() {
	layers.EmptyUnknownTypes()
	// A closed pipe must be an error of the write, not the end of the process: there are programs to detach.
	signal.Ignore(syscall.SIGPIPE)
	ending := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ending = append(ending, syscall.SIGHUP) // the terminal is gone, which is no reason to leave anything behind
	}
	os.Exit(run(interrupt.Notify(context.Background(), ending...), os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program but for its signals. It returns the exit status.
func run(ctx context.Context, args []string, out, err io.Writer) (status int) {
	root := newRoot(replay.Streams{Out: out, Err: err})
	root.SetArgs(args)
	return flags.Exit(err, root.ExecuteContext(ctx))
}
