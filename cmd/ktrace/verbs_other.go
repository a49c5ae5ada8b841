// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"github.com/spf13/cobra"

	"ktrace/cmd/internal/replay"
)

// liveVerbs are the verbs about this node: there are none, for its kernel is not Linux. Files of nodes can be read.
func liveVerbs(replay.Streams) []*cobra.Command { return nil }
