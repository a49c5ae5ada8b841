package diagnose

import (
	"time"

	"ktrace/decoder"
)

// Alone is the rule for captures that say nothing but packets: names that exist nowhere. Where the node is known other
// rules conclude the same from its resolvers' settings, and this one is silent. It wants decoder.DNS; know must be asked
// before it.
type Alone struct {
	know    *Facts
	lookups map[aloneKey]*aloneLookup
}

// NewAlone returns the rule.
func NewAlone(know *Facts) *Alone {
	return &Alone{know: know, lookups: map[aloneKey]*aloneLookup{}}
}

// Observe implements decoder.Rule.
func (r *Alone) Observe(e decoder.Event) []decoder.Finding {
	if r.know.node.Kernel != "" {
		return nil
	}
	if d, ok := e.Body.(decoder.DNS); ok {
		r.lookup(e, d)
	}
	return nil
}

// Flush implements decoder.Rule.
func (r *Alone) Flush(now time.Time, final bool) []decoder.Finding { return r.judge(now, final) }
