// SPDX-License-Identifier: Apache-2.0

// Package fio keeps latencies as fio does and prints them as fio does, so that what ktrace says of a live disk can
// be laid beside what fio says of an idle one. The bucket scheme and the layout of the text are those of fio 3.33.
package fio

import (
	"math"
	"math/big"
	"math/bits"
	"time"
)

const (
	// Buckets is how many there are: 64 to every power of two, 29 groups of them. The last takes all from 17 s on.
	Buckets = 29 * perGroup

	groupBits = 6
	perGroup  = 1 << groupBits
)

// Bucket is the index of the bucket that a latency falls into. Below 128 ns a bucket holds one value.
func Bucket(ns uint64) int {
	if ns < 2*perGroup {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - groupBits
	i := (shift+1)<<groupBits + int(ns>>shift&(perGroup-1))
	return min(i, Buckets-1)
}

// Value is the latency that a bucket stands for, nanoseconds: the middle of its range, at most 1/128 off.
func Value(bucket int) uint64 {
	if bucket < 2*perGroup {
		return uint64(bucket)
	}
	shift := bucket>>groupBits - 1
	return 1<<(shift+groupBits) + uint64(bucket%perGroup)<<shift + 1<<shift/2
}

// Histogram counts latencies. The zero value is empty. What fio takes from its buckets is taken from Counts, the
// rest is exact.
type Histogram struct {
	N        uint64            `json:"n"`
	Sum      uint64            `json:"sum"`       // nanoseconds
	SquareHi uint64            `json:"square_hi"` // sum of the squares = SquareHi<<32 + SquareLo
	SquareLo uint64            `json:"square_lo"`
	Min      uint64            `json:"min"` // nanoseconds, valid iff N > 0
	Max      uint64            `json:"max"`
	Over     uint64            `json:"over"`   // how many were over the limit
	Counts   map[uint16]uint64 `json:"counts"` // by bucket; those that are missing are empty
}

// Add counts one latency; limit is what it is compared with.
func (h *Histogram) Add(latency, limit time.Duration) {
	ns := uint64(max(latency, 0))
	if h.N == 0 || ns < h.Min {
		h.Min = ns
	}
	h.Max = max(h.Max, ns)
	h.N++
	h.Sum += ns
	hi, lo := bits.Mul64(ns, ns)
	h.SquareHi += hi<<32 + lo>>32
	h.SquareLo += lo & math.MaxUint32
	if latency > limit {
		h.Over++
	}
	if h.Counts == nil {
		h.Counts = map[uint16]uint64{}
	}
	h.Counts[uint16(Bucket(ns))]++
}

// Merge adds what another histogram counted.
func (h *Histogram) Merge(o Histogram) {
	if o.N == 0 {
		return
	}
	if h.N == 0 || o.Min < h.Min {
		h.Min = o.Min
	}
	h.Max = max(h.Max, o.Max)
	h.N += o.N
	h.Sum += o.Sum
	h.SquareHi += o.SquareHi
	h.SquareLo += o.SquareLo
	h.Over += o.Over
	if h.Counts == nil && o.Counts != nil {
		h.Counts = map[uint16]uint64{}
	}
	for bucket, n := range o.Counts {
		h.Counts[bucket] += n
	}
}

// Since is what was counted after a moment at which the histogram was as before. The least and the greatest are those of
// the buckets, at most 1/128 off, or if they are known exactly, exact.
func (h Histogram) Since(before Histogram) Histogram {
	if before.N == 0 {
		return h
	}
	since := Histogram{
		N: h.N - before.N, Sum: h.Sum - before.Sum, SquareHi: h.SquareHi - before.SquareHi, SquareLo: h.SquareLo - before.SquareLo,
		Over: h.Over - before.Over, Counts: map[uint16]uint64{},
	}
	for bucket, n := range h.Counts {
		if n -= before.Counts[bucket]; n > 0 {
			since.Counts[bucket] = n
			since.Max = max(since.Max, Value(int(bucket)))
			if since.Min == 0 || Value(int(bucket)) < since.Min {
				since.Min = Value(int(bucket))
			}
		}
	}
	if h.Max > before.Max {
		since.Max = h.Max
	}
	if h.Min < before.Min {
		since.Min = h.Min
	}
	return since
}

// Mean is the arithmetic mean, nanoseconds.
func (h *Histogram) Mean() float64 {
	if h.N == 0 {
		return 0
	}
	return float64(h.Sum) / float64(h.N)
}

// Stddev is the standard deviation of the sample, nanoseconds; 0 for fewer than two.
func (h *Histogram) Stddev() float64 {
	if h.N < 2 {
		return 0
	}
	n, sum := new(big.Int).SetUint64(h.N), new(big.Int).SetUint64(h.Sum)
	squares := new(big.Int).Lsh(new(big.Int).SetUint64(h.SquareHi), 32)
	squares.Add(squares, new(big.Int).SetUint64(h.SquareLo))
	// n·Σx² - (Σx)² exactly: the two are so close that floats would have nothing left.
	spread := squares.Mul(squares, n)
	spread.Sub(spread, sum.Mul(sum, sum))
	f, _ := new(big.Float).SetInt(spread).Float64()
	return math.Sqrt(max(f, 0) / float64(h.N) / float64(h.N-1))
}

// Shown returns the percentiles that fio shows by default.
func Shown() []float64 {
	return []float64{1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99}
}

// Percentiles returns one latency for each of ps, which must ascend, nanoseconds: the value of the first bucket up
// to which at least so many percent were counted, as fio does it, without interpolation.
func (h *Histogram) Percentiles(ps []float64) []uint64 {
	values := make([]uint64, 0, len(ps))
	var sum uint64
	for i := 0; i < Buckets && len(values) < len(ps); i++ {
		sum += h.Counts[uint16(i)]
		for len(values) < len(ps) && float64(sum) >= ps[len(values)]/100*float64(h.N) {
			values = append(values, Value(i))
		}
	}
	for len(values) < len(ps) { // the counts are fewer than N: not one of ours
		values = append(values, h.Max)
	}
	return values
}
