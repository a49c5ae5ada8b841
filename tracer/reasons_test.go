// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"slices"
	"testing"

	"ktrace/decoder/diagnose"
)

// TestEveryReasonOfThisKernelHasAMeaning: one that is not in the table is only reported by its name.
func TestEveryReasonOfThisKernelHasAMeaning(t *testing.T) {
	kernel, err := kernelTypes("")
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint32]string{}
	if err := enumNames(kernel.Spec, names, "skb_drop_reason", "SKB_DROP_REASON_"); err != nil {
		t.Fatal(err)
	}
	known := diagnose.ReasonsKnown()
	for number, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("reason %d, %s, has no meaning", number, name)
		}
	}
}
