// SPDX-License-Identifier: Apache-2.0

// Command ktrace finds why a Kubernetes node's network or disk fails a pod.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
)

func main() {
	// A closed pipe must be an error of the write, not the end of the process: there are programs to detach.
	signal.Ignore(syscall.SIGPIPE)
	// To the very end: an interrupt that comes late must not spoil the exit status.
	ending := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ending = append(ending, syscall.SIGHUP) // the terminal is gone, which is no reason to leave anything behind
	}
	ctx, _ := signal.NotifyContext(context.Background(), ending...)
	root := newRoot(replay.Streams{Out: os.Stdout, Err: os.Stderr})
	err := root.ExecuteContext(ctx)
	os.Exit(flags.Exit(os.Stderr, err))
}
