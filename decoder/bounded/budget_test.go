// SPDX-License-Identifier: Apache-2.0

package bounded

import "testing"

func TestBudgetIsNotOverdrawn(t *testing.T) {
	b := Budget{Most: 100}
	for i, take := range []struct {
		bytes int
		fits  bool
	}{{60, true}, {41, false}, {40, true}, {1, false}, {0, true}} {
		if got := b.Take(take.bytes); got != take.fits {
			t.Errorf("take %d of %d bytes: %t", i, take.bytes, got)
		}
	}
	if b.LeftOut() != 2 {
		t.Errorf("%d were left out, want 2", b.LeftOut())
	}
}
