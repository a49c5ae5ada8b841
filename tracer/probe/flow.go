// SPDX-License-Identifier: Apache-2.0

package probe

// Flow is the name of the probe that follows TCP connections by their sockets.
const Flow = "flow"

// Hooks of the flow object.
const (
	HookConnects      = "TCP connects that fail"
	HookSYNRetransmit = "TCP SYNs sent again"
)

// OwnersKept says that the sock object is in the run, too: it remembers who connects or listens, for both.
type OwnersKept bool

// Values implements Globals.
func (k OwnersKept) Values() map[string]any { return map[string]any{"owners_kept": bool(k)} }

func flowProbe() Probe {
	return Probe{
		Name: Flow,
		Hooks: []Hook{
			{
				Name:     HookConnects,
				Variants: rawTP("flow_state_raw_tp", "flow_destroy_raw_tp"),
				Optional: true,
				Without:  "connections without an answer are known by their packets only, not by the application's error",
			},
			{
				Name:     HookSYNRetransmit,
				Variants: rawTP("flow_retransmit_raw_tp"),
				Optional: true,
				Without:  "connections that still wait for an answer are known by their packets only",
			},
		},
	}
}
