// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"errors"
	"math"
	"math/bits"
)

// ErrTime is returned for a time that the unit and offset of an interface cannot express.
var ErrTime = errors.New("time does not fit the interface's resolution and offset")

const nanosecond = 1e9 // in a second

// clock turns the ticks of an interface into nanoseconds since 1970 UTC and back. A tick is
// mul/(div << shift) nanoseconds: integers only, because a float64 holds today's time to 256 ns.
type clock struct {
	mul, div uint64 // mul is 0 where a tick is so short that 2^64 of them make no nanosecond
	shift    uint   // at most 127
	offset   int64  // seconds to add
}

// newClock is the clock of an interface with that if_tsresol and if_tsoffset.
func newClock(resolution byte, offset int64) clock {
	c := clock{mul: 1, div: 1, offset: offset}
	exponent := uint(resolution & 0x7f)
	switch {
	case resolution&0x80 != 0:
		c.mul, c.shift = nanosecond, exponent
	case exponent <= 9:
		c.mul = powerOf10(9 - exponent)
	case exponent <= 28:
		c.div = powerOf10(exponent - 9)
	default: // 10^20 does not fit 64 bits, and neither do the ticks of a nanosecond
		c.mul = 0
	}
	return c
}

func powerOf10(n uint) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

// nanos is the time of a packet, rounded down to a nanosecond. Outside of the years 1677 to 2262 it
// is the nearest of those.
func (c clock) nanos(ticks uint64) int64 {
	if c.mul == 1 && c.div == 1 && c.offset == 0 && ticks <= math.MaxInt64 {
		return int64(ticks) // nanoseconds: what ktrace writes
	}
	hi, lo := bits.Mul64(ticks, c.mul)
	hi, lo = shiftRight(hi, lo, c.shift)
	lo, _ = bits.Div64(hi%c.div, lo, c.div)
	return addSeconds(hi/c.div, lo, c.offset)
}

func shiftRight(hi, lo uint64, n uint) (uint64, uint64) {
	if n >= 64 {
		return 0, hi >> (n - 64)
	}
	return hi >> n, lo>>n | hi<<(64-n)
}

func shiftLeft(v uint64, n uint) (hi, lo uint64) {
	if n >= 64 {
		return v << (n - 64), 0
	}
	return v >> (64 - n), v << n
}

// addSeconds is hi<<64 + lo + seconds*10^9 within the bounds of an int64. Neither part has more than
// 94 bits, so the sum is a sound 128-bit number in two's complement.
func addSeconds(hi, lo uint64, seconds int64) int64 {
	offsetHi, offsetLo := bits.Mul64(magnitude(seconds), nanosecond)
	var carry uint64
	if seconds < 0 {
		lo, carry = bits.Sub64(lo, offsetLo, 0)
		hi, _ = bits.Sub64(hi, offsetHi, carry)
	} else {
		lo, carry = bits.Add64(lo, offsetLo, 0)
		hi, _ = bits.Add64(hi, offsetHi, carry)
	}
	switch sign := int64(lo) >> 63; {
	case int64(hi) == sign:
		return int64(lo)
	case int64(hi) < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// ticks is the inverse of nanos: for units of a nanosecond and less nanos(ticks(t)) is t, for longer
// ones t rounded down.
func (c clock) ticks(t int64) (uint64, error) {
	ns, err := c.sinceOffset(t)
	if err != nil {
		return 0, err
	}
	if c.mul == 0 {
		return 0, ErrTime
	}
	hi, lo := bits.Mul64(ns, c.div)
	if c.shift > 0 {
		if bits.Len64(ns)+int(c.shift) > 128 {
			return 0, ErrTime
		}
		hi, lo = shiftLeft(ns, c.shift)
	}
	if hi >= c.mul {
		return 0, ErrTime
	}
	ticks, rest := bits.Div64(hi, lo, c.mul)
	if rest > 0 && c.shift >= 30 { // 2^-30 s is less than a nanosecond: rounding up stays within it
		ticks++
	}
	return ticks, nil
}

// sinceOffset is t less the offset of the interface, which must not be negative.
func (c clock) sinceOffset(t int64) (uint64, error) {
	hi, lo := bits.Mul64(magnitude(c.offset), nanosecond)
	if hi > 0 {
		return 0, ErrTime
	}
	if c.offset < 0 {
		sum, carry := bits.Add64(lo, magnitude(t), 0)
		if t < 0 {
			sum, carry = bits.Sub64(lo, magnitude(t), 0)
		}
		if carry != 0 {
			return 0, ErrTime
		}
		return sum, nil
	}
	if t < 0 || uint64(t) < lo {
		return 0, ErrTime
	}
	return uint64(t) - lo, nil
}

// magnitude is the absolute value of v, also of the smallest one.
func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}
