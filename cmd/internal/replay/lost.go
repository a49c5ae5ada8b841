// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
)

// LossNotice is a decoder.Enricher that adds nothing. It says at once that records were lost, and then every lossEvery, as long
// as more are.
type LossNotice struct {
	Say func(string)

	said  time.Time
	count uint64 // since
}

// lossEvery is how much lies between two notices, by the time of the records.
const lossEvery = 10 * time.Second

// Enrich implements decoder.Enricher.
func (n *LossNotice) Enrich(e event.Event) []event.Fact {
	f, ok := e.Body.(event.Fact)
	if !ok || f.Lost == nil {
		return nil
	}
	n.count += f.Lost.Count
	if n.said.IsZero() || e.Time.Sub(n.said) >= lossEvery {
		n.Say(fmt.Sprintf("warning: %d records were lost: they came faster than they are read. What was not seen meanwhile is unknown. "+
			"Fewer come with -p, -i or an expression.", n.count))
		n.said, n.count = e.Time, 0
	}
	return nil
}
