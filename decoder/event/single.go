// SPDX-License-Identifier: Apache-2.0

package event

// Single is what most stages return, one event, in the same memory every time: a file may hold millions of packets, and
// a slice for each of them at each stage costs more than what the stages do.
type Single struct{ one [1]Event }

// Event returns the event alone, valid until the next call.
func (o *Single) Event(e Event) []Event {
	o.one[0] = e
	return o.one[:]
}
