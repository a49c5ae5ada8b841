// SPDX-License-Identifier: Apache-2.0

package fio

import (
	"math"
	"testing"
	"time"
)

// limit is one that nothing in these tests is over.
const limit = time.Hour

func filled(latencies ...time.Duration) *Histogram {
	var h Histogram
	for _, l := range latencies {
		h.Add(l, limit)
	}
	return &h
}

func TestEveryLatencyIsWithinOne128thOfItsBucketsValue(t *testing.T) {
	for ns := uint64(1); ns < 17e9; ns += ns/97 + 1 {
		v := Value(Bucket(ns))
		if off := math.Abs(float64(v) - float64(ns)); off > float64(ns)/128 {
			t.Fatalf("%d falls into bucket %d, which stands for %d", ns, Bucket(ns), v)
		}
	}
}

func TestBucketsAscendAndHoldTheirOwnValue(t *testing.T) {
	for i := range Buckets {
		if got := Bucket(Value(i)); got != i {
			t.Fatalf("the value of bucket %d, %d, falls into %d", i, Value(i), got)
		}
	}
	if got := Bucket(math.MaxUint64); got != Buckets-1 {
		t.Errorf("the longest latency falls into bucket %d, want the last", got)
	}
}

func TestMomentsAreExactWhereFloatsWouldCancel(t *testing.T) {
	const far = 100 * time.Second // squared and summed it has no digits left for nanoseconds in a float
	h := filled(far-1, far, far+1)
	if h.Mean() != float64(far) || h.Stddev() != 1 {
		t.Errorf("mean %f, deviation %f, want %d and 1", h.Mean(), h.Stddev(), far)
	}
	if h.Min != uint64(far-1) || h.Max != uint64(far+1) || h.N != 3 {
		t.Errorf("got %+v", h)
	}
}

func TestMergeIsTheSameAsCountingInOne(t *testing.T) {
	var merged Histogram
	merged.Merge(*filled(3, 500))
	merged.Merge(Histogram{})
	merged.Merge(*filled(1, 9000))
	all := filled(3, 500, 1, 9000)
	if merged.Stddev() != all.Stddev() || merged.Min != all.Min || merged.Max != all.Max || len(merged.Counts) != len(all.Counts) {
		t.Errorf("got %+v, want %+v", merged, all)
	}
}

func TestPercentilesNeedNoInterpolation(t *testing.T) {
	var h Histogram
	for i := range 100 {
		h.Add(time.Duration(i), limit)
	}
	for i, v := range h.Percentiles([]float64{1, 50, 99, 100}) {
		if want := []uint64{0, 49, 98, 99}[i]; v != want {
			t.Errorf("percentile %d is %d, want %d", i, v, want)
		}
	}
}

func TestVerdictKnowsTheSampleSizesOfTheBinomialTable(t *testing.T) {
	for _, c := range []struct {
		name    string
		n, over uint64
		want    Result
		needed  uint64
	}{
		{"nothing seen is nothing known", 0, 0, Undecided, 299},
		{"298 without one over are one too few", 298, 0, Undecided, 1},
		{"299 without one over pass: 0.99^299 = 4.95 %", 299, 0, Pass, 0},
		{"472 with one over are one too few", 472, 1, Undecided, 1},
		{"473 with one over pass", 473, 1, Pass, 0},
		{"627 with two over are one too few", 627, 2, Undecided, 1},
		{"fio's 10029 with 80 over pass", 10029, 80, Pass, 0},
		{"fio's 10029 with 100 over are too close", 10029, 100, Undecided, 1770},
		{"a single one over proves nothing", 1, 1, Fail, 0},
		{"five of a hundred over fail", 100, 5, Fail, 0},
		{"three of a hundred over may be chance", 100, 3, Undecided, 673},
		{"a million with two in a hundred over fail", 1_000_000, 20_000, Fail, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Judge(c.n, c.over, 10*time.Millisecond)
			if v.Result != c.want || v.Needed != c.needed {
				t.Errorf("%d of %d: %v, want %v and %d needed", c.over, c.n, v, c.want, c.needed)
			}
		})
	}
}

func TestBoundsAreThoseOfClopperAndPearson(t *testing.T) {
	for _, c := range []struct {
		n, k      uint64
		low, high float64
	}{
		{10, 0, 0, 1 - math.Pow(0.05, 0.1)},
		{10, 10, math.Pow(0.05, 0.1), 1},
		{10, 3, 0.0872644, 0.6066242}, // two-sided 90 % interval of R's binom.test(3, 10, conf.level=.9)
		{1, 0, 0, 0.95},
	} {
		low, high := bounds(c.n, c.k)
		if math.Abs(low-c.low) > 1e-6 || math.Abs(high-c.high) > 1e-6 {
			t.Errorf("%d of %d: %.7f to %.7f, want %.7f to %.7f", c.k, c.n, low, high, c.low, c.high)
		}
	}
}

// The reference sums the terms themselves.
func TestTailsAgreeWithTheirSums(t *testing.T) {
	for _, n := range []uint64{1, 7, 100, 2000} {
		for _, p := range []float64{0.001, 0.01, 0.3} {
			sum, term := 0.0, math.Pow(1-p, float64(n))
			for k := uint64(0); k < min(n, 60); k++ {
				sum += term
				if got := atMost(n, k, p); math.Abs(got-sum) > 1e-10 {
					t.Errorf("P(X <= %d) of %d at %v: %v, want %v", k, n, p, got, sum)
				}
				if got := atLeast(n, k+1, p); math.Abs(got-(1-sum)) > 1e-10 {
					t.Errorf("P(X >= %d) of %d at %v: %v, want %v", k+1, n, p, got, 1-sum)
				}
				term *= float64(n-k) / float64(k+1) * p / (1 - p)
			}
		}
	}
}

func TestSinceIsWhatCameBetween(t *testing.T) {
	var h Histogram
	add := func(n int, latency time.Duration) {
		for range n {
			h.Add(latency, 10*time.Millisecond)
		}
	}
	add(1000, time.Millisecond)
	before := Histogram{}
	before.Merge(h)
	add(10, 30*time.Millisecond)
	add(10, 2*time.Millisecond)
	since := h.Since(before)
	if since.N != 20 || since.Over != 10 || since.Max != uint64(30*time.Millisecond) || since.Mean() != 16e6 {
		t.Errorf("since: %+v", since)
	}
	if least := since.Min; least < 1_980_000 || least > 2_020_000 {
		t.Errorf("the least is %d", least)
	}
	if p := since.Percentiles([]float64{50, 99}); p[0] > 2_020_000 || p[1] < 29_000_000 {
		t.Errorf("percentiles %v", p)
	}
	if again := h.Since(h); again.N != 0 || len(again.Counts) != 0 {
		t.Errorf("since now: %+v", again)
	}
}
