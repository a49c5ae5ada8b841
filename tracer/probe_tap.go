package tracer

import (
	"ktrace/bpf"
	"ktrace/tracer/host"
)

// The probe that takes whole packets, its programs, and its map of what was lost at each device.
const (
	TapProbe = "tap"
	TapIn    = "tap_in"
	TapOut   = "tap_out"
	TapLost  = "tap_lost"
)

func tapProbe() Probe {
	return Probe{
		Name:         TapProbe,
		Load:         bpf.LoadTap,
		Capabilities: []string{host.NetAdmin},
		Hooks:        []Hook{{Name: "packets pass a device", Variants: []Variant{{Name: "tc", Programs: []string{TapIn, TapOut}}}}},
	}
}

// TapGlobals are the variables of the tap object.
type TapGlobals struct {
	Snap uint32 // bytes to take of a packet
}

// Globals returns the variables as Options want them.
func (g TapGlobals) Globals() map[string]any { return map[string]any{"tap_snap": g.Snap} }
