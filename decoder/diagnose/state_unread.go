// SPDX-License-Identifier: Apache-2.0

package diagnose

import "ktrace/decoder/event"

// unread reports whether some lookup about an event's packet was put off and never made: the run ended before, or there was no time.
// That nothing is known of a rule, a route or an endpoint is no sign then that there is none.
func (st *State) unread(e event.Event) bool { return st.deferred[event.KeyOf(e)] }

// notInTime is the evidence for that.
const notInTime = "the rules, and what else the node knows of the packet, could not be read in time"

// noRule says that no rule dropped a packet, if that was looked up.
func (st *State) noRule(e event.Event, d event.Drop) string {
	if _, known := st.dropRulesOf(e, d); !known {
		return "which rules there are is not known"
	}
	return "no rule is for the packet"
}
