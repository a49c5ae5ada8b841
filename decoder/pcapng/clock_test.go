// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestTicksBecomeNanosecondsExactly(t *testing.T) {
	for _, c := range []struct {
		name       string
		resolution byte
		offset     int64
		ticks      uint64
		want       int64
	}{
		{"microseconds", 6, 0, 1_700_000_000_123_456, 1_700_000_000_123_456_000},
		{"nanoseconds", 9, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789},
		{"seconds", 0, 0, 1_700_000_000, 1_700_000_000e9},
		{"picoseconds are rounded down", 12, 0, 1_999, 1},
		{"a unit too short for 64 bits of it to make a nanosecond", 127, 0, math.MaxUint64, 0},
		{"10^-28 s, the shortest that counts", 28, 0, math.MaxUint64, 1},
		{"2^-10 s", 0x8a, 0, 1024*3 + 512, 3_500_000_000},
		{"2^-32 s", 0xa0, 0, 1<<32 + 1<<31, 1_500_000_000},
		{"2^-64 s", 0xc0, 0, 1 << 63, 500_000_000},
		{"2^-127 s", 0xff, 0, math.MaxUint64, 0},
		{"offset is added", 9, 1_700_000_000, 5, 1_700_000_000_000_000_005},
		{"negative offset", 9, -10, 3e9, -7e9},
		{"too late becomes the latest", 0, 0, math.MaxUint64, math.MaxInt64},
		{"too late by its offset", 9, math.MaxInt64, 0, math.MaxInt64},
		{"too early becomes the earliest", 9, math.MinInt64, 0, math.MinInt64},
		{"nanoseconds beyond int64", 9, 0, math.MaxUint64, math.MaxInt64},
		{"beyond int64, and back by the offset", 9, -9_000_000_000, 9_500_000_000e9, 500_000_000e9},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := newClock(c.resolution, c.offset).nanos(c.ticks); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// TestClockAgreesWithBigIntegers compares every resolution with the definition.
func TestClockAgreesWithBigIntegers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for resolution := range 256 {
		for range 200 {
			ticks := random.Uint64() >> random.UintN(64)
			offset := int64(random.Uint64()) >> random.UintN(64)
			c := newClock(byte(resolution), offset)
			got := c.nanos(ticks)
			if want := bigNanos(byte(resolution), offset, ticks); got != want {
				t.Fatalf("resolution %#x, offset %d, %d ticks: got %d, want %d", resolution, offset, ticks, got, want)
			}
			checkInverse(t, c, byte(resolution), got)
		}
	}
}

// checkInverse wants ticks to find the way back wherever the unit is fine enough, or to refuse.
func checkInverse(t *testing.T, c clock, resolution byte, ns int64) {
	t.Helper()
	if ns == math.MaxInt64 || ns == math.MinInt64 {
		return
	}
	ticks, err := c.ticks(ns)
	if err != nil {
		if !errors.Is(err, ErrTime) {
			t.Fatalf("ticks(%d): %v", ns, err)
		}
		return
	}
	back := c.nanos(ticks)
	fine := resolution >= 0x80+30 || resolution < 0x80 && resolution >= 9
	if fine && back != ns || back > ns {
		t.Fatalf("resolution %#x: ticks(%d) is %d, which is %d ns", resolution, ns, ticks, back)
	}
}

func bigNanos(resolution byte, offset int64, ticks uint64) int64 {
	base := int64(10)
	if resolution&0x80 != 0 {
		base = 2
	}
	unit := new(big.Int).Exp(big.NewInt(base), big.NewInt(int64(resolution&0x7f)), nil)
	ns := new(big.Int).Mul(new(big.Int).SetUint64(ticks), big.NewInt(nanosecond))
	ns.Div(ns, unit)
	ns.Add(ns, new(big.Int).Mul(big.NewInt(offset), big.NewInt(nanosecond)))
	switch {
	case ns.Cmp(big.NewInt(math.MaxInt64)) > 0:
		return math.MaxInt64
	case ns.Cmp(big.NewInt(math.MinInt64)) < 0:
		return math.MinInt64
	}
	return ns.Int64()
}

func TestTimesThatDoNotFitAreRefused(t *testing.T) {
	for _, c := range []struct {
		name       string
		resolution byte
		offset, ns int64
	}{
		{"before 1970", 9, 0, -1},
		{"before the offset", 9, 100, 99e9},
		{"more than 64 bits of picoseconds", 12, 0, math.MaxInt64},
		{"a unit that is no time", 127, 0, 1},
		{"2^-127 s", 0xff, 0, 1e9},
		{"an offset of more seconds than a time has", 9, math.MaxInt64, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ticks, err := newClock(c.resolution, c.offset).ticks(c.ns); !errors.Is(err, ErrTime) {
				t.Errorf("got %d ticks and error %v, want %v", ticks, err, ErrTime)
			}
		})
	}
}

func TestMalformedResolutionCountsAsMicroseconds(t *testing.T) {
	var i Interface
	i.Options.AddBytes(IfTimeResolution, []byte{9, 9})
	i.Options.AddBytes(IfTimeOffset, []byte{1})
	if i.TimeResolution() != 6 || i.TimeOffset() != 0 {
		t.Errorf("got resolution %d, offset %d", i.TimeResolution(), i.TimeOffset())
	}
}
