// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"time"

	"ktrace/decoder/event"
)

// Stage turns events into others: it names pods, joins hops to journeys, queries to answers. It passes on
// what it does not need. Stages keep no clock: now is the time of the newest event or tick.
type Stage interface {
	// Observe takes an event; what it returns is valid until the stage is called again.
	Observe(event.Event) []event.Event
	// Flush returns what time alone completes: timeouts. final says that nothing follows.
	Flush(now time.Time, final bool) []event.Event
}

// Rule watches the events and says what explains a failure.
type Rule interface {
	Observe(event.Event) []event.Finding
	Flush(now time.Time, final bool) []event.Finding
}
