// SPDX-License-Identifier: Apache-2.0

package fio

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// scale is a unit that fio chooses from. Minima and maxima decide, nanoseconds: both must be greater.
type scale struct {
	name     string
	min, max uint64
	dev      float64
	digits   int // decimal digits that are cut off
}

func scales() []scale {
	return []scale{
		{"msec", 2_000_000, 99_999_999, 1e6, 6},
		{"usec", 2_000, 99_999, 1e3, 3},
		{"nsec", 0, 0, 0, 0},
	}
}

// Lines is what fio prints of a job's syncs, letter for letter: the line with minimum, maximum, average and
// deviation, and the block of percentiles, each in the unit that fio would choose for it. Nothing for no syncs.
func (h *Histogram) Lines() []string {
	if h.N == 0 {
		return nil
	}
	return append([]string{"  fsync/fdatasync/sync_file_range:", h.latencyLine()}, h.percentileLines()...)
}

// latencyLine chooses its unit by the deviation too: a narrow spread stays in the finer one.
func (h *Histogram) latencyLine() string {
	dev := h.Stddev()
	for _, s := range scales() {
		last := s.digits == 0
		if !last && (h.Min <= s.min || h.Max <= s.max || dev <= s.dev) {
			continue
		}
		per := math.Pow10(s.digits)
		return fmt.Sprintf("    sync (%s): min=%s, max=%s, avg=%5.02f, stdev=%5.02f", s.name,
			short(h.Min/uint64(per)), short(h.Max/uint64(per)), h.Mean()/per, dev/per)
	}
	return ""
}

// short writes a number with at most six characters before the unit prefix, as fio does: 1234567 is 1234.6k.
func short(n uint64) string {
	const width = 6
	digits := strconv.FormatUint(n, 10)
	if len(digits) <= width {
		return digits
	}
	var rest uint64
	prefix := 0
	for ; len(digits) > width; prefix++ {
		n, rest = n/1000, n%1000
		digits = strconv.FormatUint(n, 10)
	}
	unit := string("kMGTPE"[prefix-1])
	room := width - len(digits) - 1
	if room <= 0 {
		if rest >= 500 {
			n++
		}
		return strconv.FormatUint(n, 10) + unit
	}
	fraction := strconv.FormatFloat(float64(rest)/1000, 'f', room, 64)
	if fraction[0] == '1' {
		n++
	}
	return fmt.Sprintf("%d.%s%s", n, fraction[2:], unit)
}

func (h *Histogram) percentileLines() []string {
	const (
		precision = 2
		margin    = 7
	)
	ps := Shown()
	values := h.Percentiles(ps)
	lowest, highest := values[0], values[len(values)-1]
	var unit scale
	for _, unit = range scales() {
		if lowest > unit.min && highest > unit.max {
			break
		}
	}
	top := highest / uint64(math.Pow10(unit.digits))
	width := max(5, len(strconv.FormatUint(top, 10)))
	perLine := (80 - margin) / (precision + 10 + width)
	lines := []string{fmt.Sprintf("    sync percentiles (%s):", unit.name)}
	var line strings.Builder
	for i, p := range ps {
		if i%perLine == 0 {
			line.WriteString("     |")
		}
		last := i == len(ps)-1
		fmt.Fprintf(&line, " %*.*fth=[%*d]", precision+3, precision, p, width, roundUp(values[i], unit.digits))
		if !last {
			line.WriteByte(',')
		}
		if last || i%perLine == perLine-1 {
			lines = append(lines, line.String())
			line.Reset()
		}
	}
	return lines
}

// roundUp divides by a thousand as often as three digits are to go, rounding up each time, as fio does.
func roundUp(v uint64, digits int) uint64 {
	for ; digits > 0; digits -= 3 {
		v = (v + 999) / 1000
	}
	return v
}
