// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"testing"
	"time"
)

// TestRetriesBecomeSeldom: a pod that stays nameless is looked for often at first, and again when it has a new container.
func TestRetriesBecomeSeldom(t *testing.T) {
	r, begin := retries{}, time.Unix(1000, 0)
	looks := func(from, to, containers int) (n int) {
		for s := from; s < to; s++ {
			if r.due("a", containers, begin.Add(time.Duration(s)*time.Second)) {
				n++
			}
		}
		return n
	}
	if n := looks(0, 4, 1); n != 4 {
		t.Errorf("%d looks at the beginning, want one a second", n)
	}
	if n := looks(4, 200, 1); n < 5 || n > 12 {
		t.Errorf("%d looks in the minutes after", n)
	}
	if n := looks(200, 204, 2); n != 4 {
		t.Errorf("%d looks after a new container, want one a second", n)
	}
	r.forget(begin.Add(time.Hour))
	if len(r) > 0 {
		t.Errorf("%d pods are kept for ever", len(r))
	}
}
