// SPDX-License-Identifier: Apache-2.0

package probe

// Tap is the name of the probe that captures whole packets. Its programs are attached to devices; TapLost counts the
// packets lost at each.
const (
	Tap     = "tap"
	TapIn   = "tap_in"
	TapOut  = "tap_out"
	TapLost = "tap_lost"
)

// HookTap is the hook of the tap object.
const HookTap = "packet capture at devices"

func tapProbe() Probe {
	return Probe{
		Name:      Tap,
		AtDevices: true,
		Hooks:     []Hook{{Name: HookTap}},
	}
}

// TapGlobals are the variables of the tap object.
type TapGlobals struct {
	Snap uint32 // bytes to take of a packet
}

func (g TapGlobals) Values() map[string]any { return map[string]any{"tap_snap": g.Snap} }
