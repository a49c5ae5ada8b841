// SPDX-License-Identifier: Apache-2.0

package event

import (
	"os"
	"testing"

	"ktrace/decoder/layers"
)

// TestMain empties the tables of gopacket, which builds the packets of tests, as the program does: the garbage collector follows
// them in every cycle, which would be a quarter of what benchmarks here measure.
func TestMain(m *testing.M) {
	layers.EmptyUnknownTypes()
	os.Exit(m.Run())
}
