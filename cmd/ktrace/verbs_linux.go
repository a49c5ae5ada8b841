// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"ktrace/cmd/internal/replay"
)

// liveVerbs are the verbs about this node.
func liveVerbs(s replay.Streams) []*cobra.Command {
	return []*cobra.Command{
		newDoctor(s), newPods(s), newFsync(s), newDrop(s), newNAT(s), newMTU(s), newDiagnose(s), newReset(s), newFlows(s), newDNS(s), newCapture(s), newExtcap(s),
	}
}
