// SPDX-License-Identifier: Apache-2.0

package probe

// Flow is the name of the probe that follows TCP connections by their sockets.
const Flow = "flow"

// Maps of the flow object: the connections that it follows, and how many they were.
const (
	Connections = "connections"
	FlowBooks   = "flow_books"
)

// EveryFlow has the flow object report connections that do well, too: when they end, and when they are found open.
type EveryFlow bool

// Values implements Globals.
func (e EveryFlow) Values() map[string]any { return map[string]any{"every_flow": bool(e)} }

// Hooks of the flow object.
const (
	HookConnects      = "TCP connections that begin and end"
	HookSYNRetransmit = "TCP segments sent again"
	HookOpenFlows     = "TCP connections that are open"
)

// OwnersKept says that the sock object is in the run, too: it remembers who connects or listens, for both.
type OwnersKept bool

// Values implements Globals.
func (k OwnersKept) Values() map[string]any { return map[string]any{"owners_kept": bool(k)} }

func flowProbe() Probe {
	return Probe{
		Name:   Flow,
		Kernel: readTick,
		Hooks: []Hook{
			{
				Name:     HookConnects,
				Variants: rawTP("flow_state_raw_tp", "flow_destroy_raw_tp"),
				Optional: true,
				Without:  "connections without an answer are known by their packets only, not by the application's error, and ends by an error not at all",
			},
			{
				Name:     HookSYNRetransmit,
				Variants: rawTP("flow_retransmit_raw_tp"),
				Optional: true,
				Without:  "connections that still wait for an answer are known by their packets only, and lossy ones by their end only",
			},
			{
				Name:     HookOpenFlows,
				Variants: []Variant{{Name: "iter", Programs: []string{"flow_iter"}}},
				Optional: true,
				Without:  "connections that hang and send nothing are not seen: those whose receiver does not read",
			},
		},
	}
}
