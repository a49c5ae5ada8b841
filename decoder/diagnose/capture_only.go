// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"time"

	"ktrace/decoder/event"
)

// CaptureOnly is the rule for captures without facts of a node: names that do not exist. On a node DNSLookups concludes
// the same, and more, from resolv.conf, and this one is silent. It wants event.DNS; state must observe events before it.
type CaptureOnly struct {
	state   *State
	lookups map[captureKey]*captureLookup
}

// NewCaptureOnly returns the rule.
func NewCaptureOnly(state *State) *CaptureOnly {
	return &CaptureOnly{state: state, lookups: map[captureKey]*captureLookup{}}
}

// Observe implements stage.Rule.
func (r *CaptureOnly) Observe(e event.Event) []event.Finding {
	if r.state.node.Kernel != "" {
		return nil
	}
	if d, ok := e.Body.(event.DNS); ok {
		r.lookup(e, d)
	}
	return nil
}

// Flush implements stage.Rule.
func (r *CaptureOnly) Flush(now time.Time, final bool) []event.Finding { return r.judge(now, final) }
