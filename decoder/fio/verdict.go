// SPDX-License-Identifier: Apache-2.0

package fio

import (
	"fmt"
	"math"
	"sort"
	"time"
)

// Result is what a sample says of a limit.
type Result string

// Results.
const (
	Pass      Result = "PASS"      // 95 % sure that P99 is within the limit
	Fail      Result = "FAIL"      // 95 % sure that it is not
	Undecided Result = "UNDECIDED" // too few syncs to be sure of either
)

const (
	share = 0.01 // of all syncs may be over the limit: then the 99th percentile is not
	doubt = 0.05 // how often a verdict may be wrong
)

// Verdict says whether the 99th percentile is within a limit. It rests on exact counts, not on buckets: of N syncs,
// Over took longer. The true share of those lies, 95 times in 100, above Low, and 95 times in 100 below High: the
// one-sided bounds of Clopper and Pearson (Biometrika 26, 1934).
type Verdict struct {
	Result Result        `json:"result"`
	Limit  time.Duration `json:"limit_ns"`
	N      uint64        `json:"n"`
	Over   uint64        `json:"over"`
	Low    float64       `json:"share_low"`
	High   float64       `json:"share_high"`
	// Needed is how many more syncs, all of them within the limit, would make it PASS; 0 unless undecided.
	Needed uint64 `json:"needed"`
}

// Judge compares n syncs, of which over took longer than the limit, with the rule that one in a hundred may.
func Judge(n, over uint64, limit time.Duration) Verdict {
	v := Verdict{Result: Undecided, Limit: limit, N: n, Over: min(over, n), High: 1}
	if n > 0 {
		v.Low, v.High = bounds(v.N, v.Over)
	}
	switch {
	case n > 0 && atMost(v.N, v.Over, share) <= doubt:
		v.Result = Pass
	case v.Over > 0 && atLeast(v.N, v.Over, share) <= doubt:
		v.Result = Fail
	default:
		v.Needed = needed(v.N, v.Over)
	}
	return v
}

// bounds solves for the shares at which so few, or so many, would be seen in one of twenty samples.
func bounds(n, k uint64) (low, high float64) {
	high = 1
	if k > 0 {
		low = solve(func(p float64) bool { return atLeast(n, k, p) > doubt })
	}
	if k < n {
		high = solve(func(p float64) bool { return atMost(n, k, p) <= doubt })
	}
	return low, high
}

// solve finds where in 0..1 a predicate turns true.
func solve(above func(float64) bool) float64 {
	low, high := 0.0, 1.0
	for range 60 {
		if mid := (low + high) / 2; above(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return (low + high) / 2
}

// needed is how many more it takes, none of them over the limit, until k of all of them pass.
func needed(n, k uint64) uint64 {
	enough := func(more int) bool { return atMost(n+uint64(more), k, share) <= doubt }
	most := 1024
	for !enough(most) && most < math.MaxInt/4 {
		most *= 2
	}
	return uint64(sort.Search(most, enough))
}

// atMost is the probability of k or fewer of n, each with probability p.
func atMost(n, k uint64, p float64) float64 {
	if k >= n {
		return 1
	}
	return incompleteBeta(float64(n-k), float64(k)+1, 1-p)
}

// atLeast is the probability of k or more of n.
func atLeast(n, k uint64, p float64) float64 {
	if k == 0 {
		return 1
	}
	return incompleteBeta(float64(k), float64(n-k)+1, p)
}

// incompleteBeta is the regularised incomplete beta function I_x(a, b), by its continued fraction: DLMF 8.17.22,
// evaluated by Lentz's method.
func incompleteBeta(a, b, x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2): // where the fraction converges slowly; DLMF 8.17.4
		return 1 - incompleteBeta(b, a, 1-x)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a
	return front * betaFraction(a, b, x)
}

func betaFraction(a, b, x float64) float64 {
	const (
		tiny    = 1e-300
		epsilon = 1e-14
		most    = 100_000 // steps grow with the square root of the larger of a and b
	)
	away := func(v float64) float64 { // from zero
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/away(1-(a+b)*x/(a+1))
	f := d
	for i := 1; i < most; i++ {
		m := float64(i)
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / away(1+even*d)
		c = away(1 + even/c)
		f *= c * d
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / away(1+odd*d)
		c = away(1 + odd/c)
		step := c * d
		f *= step
		if math.Abs(step-1) < epsilon {
			break
		}
	}
	return f
}

// String says it in a sentence.
func (v Verdict) String() string {
	counted := fmt.Sprintf("%d of %d over %v", v.Over, v.N, v.Limit)
	switch v.Result {
	case Pass:
		return fmt.Sprintf("PASS: P99 is within %v (%s; 95%% sure that at most %.2f%% are)", v.Limit, counted, v.High*100)
	case Fail:
		return fmt.Sprintf("FAIL: P99 is over %v (%s; 95%% sure that at least %.2f%% are)", v.Limit, counted, v.Low*100)
	}
	return fmt.Sprintf("UNDECIDED: %s; %d more within it are needed to be 95%% sure", counted, v.Needed)
}
