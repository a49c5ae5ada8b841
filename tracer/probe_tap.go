// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"ktrace/bpf"
	"ktrace/tracer/host"
)

// TapProbe is the name of the probe that captures whole packets. Its programs are attached to devices; TapLost counts the
// packets lost at each.
const (
	TapProbe = "tap"
	TapIn    = "tap_in"
	TapOut   = "tap_out"
	TapLost  = "tap_lost"
)

// HookTap is the hook of the tap object.
const HookTap = "packet capture at devices"

func tapProbe() Probe {
	return Probe{
		Name:         TapProbe,
		Load:         bpf.LoadTap,
		Capabilities: []string{host.NetAdmin},
		Hooks:        []Hook{{Name: HookTap, Variants: []Variant{{Name: "tc", Programs: []string{TapIn, TapOut}}}}},
	}
}

// TapGlobals are the variables of the tap object.
type TapGlobals struct {
	Snap uint32 // bytes to take of a packet
}

func (g TapGlobals) globals() map[string]any { return map[string]any{"tap_snap": g.Snap} }
