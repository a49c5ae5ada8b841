// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/fio"
)

// totals are the counters of a run.
type totals struct {
	queries  uint64
	pending  uint64
	unseen   uint64 // whose answer may have come in bytes that are missing
	retried  uint64 // answered over TCP, because the answer over UDP did not fit
	outcomes map[event.DNSOutcome]uint64
	rcodes   map[string]uint64
	latency  fio.Histogram
}

func newTotals() totals {
	return totals{outcomes: map[event.DNSOutcome]uint64{}, rcodes: map[string]uint64{}}
}

func (t *totals) add(d event.DNS, slow time.Duration) {
	t.queries++
	t.outcomes[d.Outcome]++
	if d.Retry && d.Outcome == event.DNSAnswered {
		t.retried++
	}
	if d.Outcome == event.DNSAnswered || d.Outcome == event.DNSTruncated {
		t.rcodes[d.Rcode]++
		t.latency.Add(d.Latency, slow)
	}
}

func (t *totals) summary() *event.DNSSummary {
	s := &event.DNSSummary{Queries: t.queries, Pending: t.pending, Unseen: t.unseen, Retried: t.retried, Outcomes: t.outcomes, Rcodes: t.rcodes}
	if t.latency.N > 0 {
		p := t.latency.Percentiles([]float64{50, 99})
		s.P50, s.P99, s.Max = time.Duration(p[0]), time.Duration(p[1]), time.Duration(t.latency.Max)
	}
	return s
}
