// SPDX-License-Identifier: Apache-2.0

package bounded

import "testing"

func TestGapsJoinWhatTouchesAndForgetNone(t *testing.T) {
	const ms = int64(1e6)
	var g Gaps
	g.Add(100*ms, 200*ms, 3)
	g.Add(400*ms, 500*ms, 4)
	g.Add(205*ms, 210*ms, 1) // close to the first
	for _, tt := range []struct {
		name     string
		from, to int64
		want     uint64
	}{
		{"before all", 0, 99 * ms, 0},
		{"its first moment", 0, 100 * ms, 4},
		{"within one", 150 * ms, 160 * ms, 4},
		{"its last moment", 210 * ms, 300 * ms, 4},
		{"between two", 211 * ms, 399 * ms, 0},
		{"both", 0, 1000 * ms, 8},
		{"behind all", 501 * ms, 1000 * ms, 0},
	} {
		if _, _, n := g.Touching(tt.from, tt.to); n != tt.want {
			t.Errorf("%s: %d lost, want %d", tt.name, n, tt.want)
		}
	}
	g.Add(0, 1000*ms, 1)
	if first, last, n := g.Touching(300*ms, 300*ms); first != 0 || last != 1000*ms || n != 9 || len(g.all) != 1 {
		t.Errorf("%d lost in %d..%d, of %d gaps", n, first, last, len(g.all))
	}
}

func TestGapsAreBounded(t *testing.T) {
	var g Gaps
	const apart = 1e9
	for i := range int64(2 * maxGaps) {
		g.Add(i*apart, i*apart, 1)
	}
	if len(g.all) > maxGaps {
		t.Errorf("%d gaps", len(g.all))
	}
	if _, _, n := g.Touching(0, 0); n == 0 {
		t.Error("the oldest is forgotten")
	}
	if _, _, n := g.Touching(0, 2*maxGaps*apart); n != 2*maxGaps {
		t.Errorf("%d lost", n)
	}
}
