package dns

import (
	"time"

	"ktrace/decoder"
	"ktrace/decoder/fio"
)

// totals are the counters of a run.
type totals struct {
	queries  uint64
	pending  uint64
	outcomes map[decoder.DNSOutcome]uint64
	rcodes   map[string]uint64
	latency  fio.Histogram
}

func newTotals() totals {
	return totals{outcomes: map[decoder.DNSOutcome]uint64{}, rcodes: map[string]uint64{}}
}

func (t *totals) add(d decoder.DNS, slow time.Duration) {
	t.queries++
	t.outcomes[d.Outcome]++
	if d.Outcome == decoder.DNSAnswered || d.Outcome == decoder.DNSTruncated {
		t.rcodes[d.Rcode]++
		t.latency.Add(d.Latency, slow)
	}
}

func (t *totals) summary() *decoder.DNSSummary {
	s := &decoder.DNSSummary{Queries: t.queries, Pending: t.pending, Outcomes: t.outcomes, Rcodes: t.rcodes}
	if t.latency.N > 0 {
		p := t.latency.Percentiles([]float64{50, 99})
		s.P50, s.P99, s.Max = time.Duration(p[0]), time.Duration(p[1]), time.Duration(t.latency.Max)
	}
	return s
}
