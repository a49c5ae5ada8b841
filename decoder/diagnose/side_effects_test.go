// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
)

// TestManyMissingAddressesAreOneCause: the first have findings of their own, whose cause stays what it was.
func TestManyMissingAddressesAreOneCause(t *testing.T) {
	var s sideEffects
	at := func(netns uint32, i int) netnsAddr {
		return netnsAddr{netns, netip.AddrFrom4([4]byte{172, 20, byte(i >> 8), byte(i)})}
	}
	for range 2 {
		for i := range 1000 {
			if many := s.misses(at(1, i)); many != (i >= missingApart) {
				t.Fatalf("address %d: one of many: %v", i, many)
			}
		}
	}
	if s.misses(at(2, 1)) {
		t.Error("another namespace lacks one address only")
	}
}
