package tracer

// Protocols that the path object tells apart: WANT_ of path.bpf.c.
const (
	TCP   = 1
	UDP   = 2
	ICMP  = 4
	Other = 8
)

// Flags of TCP, for the filter of its packets.
const (
	FlagSYN = 0x02
	FlagRST = 0x04
)

// MaxPorts is how many ports the path object can look for.
const MaxPorts = 8

// PathFilter is what a view asks the path object for.
type PathFilter struct {
	Protocols uint32 // whose hops and drops are recorded
	DropsOnly bool   // no hops
	Ports     []uint // of either end; none: all
	Snap      uint32 // bytes to take of a packet, at most 512
}

// Globals returns the filter as Options want it.
func (f PathFilter) Globals() map[string]any {
	var ports [MaxPorts]uint16
	for i, p := range f.Ports[:min(len(f.Ports), MaxPorts)] {
		ports[i] = uint16(p)
	}
	hops := f.Protocols
	if f.DropsOnly {
		hops = 0
	}
	return map[string]any{
		"hop_protocols":  hops,
		"drop_protocols": f.Protocols,
		"ports_wanted":   uint32(min(len(f.Ports), MaxPorts)),
		"ports":          ports,
		"snap":           f.Snap,
	}
}
