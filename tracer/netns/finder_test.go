// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"testing"

	"ktrace/tracer/procfs"
)

func TestOnceLooksForNamespacesOnce(t *testing.T) {
	f := NewFinder(procfs.New("/"))
	f.Once(func() {
		for gone := range uint32(3) {
			if _, err := f.Open(gone); !errors.Is(err, ErrGone) {
				t.Errorf("%d: %v, want that it is gone", gone, err)
			}
		}
	})
	if len(f.missed) != 1 {
		t.Errorf("looked for %d of 3, want one", len(f.missed))
	}
}
