// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"math/rand/v2"

	"github.com/cilium/ebpf/btf"
)

// Path is the name of the probe that follows packets through the node.
const Path = "path"

// Hooks of the path object.
const (
	HookTransmit = "packet transmit"
	HookReceive  = "packet receive"
	HookDrop     = "packet drop"
)

func pathProbe() Probe {
	return Probe{
		Name: Path,
		Kernel: func(kernel *btf.Spec) []Globals {
			return []Globals{kfreeSkbHasReason(kernel), kfreeSkbHasSocket(kernel)}
		},
		Hooks: []Hook{
			{Name: HookTransmit, Variants: traced("transmit")},
			{Name: HookReceive, Variants: traced("receive")},
			{Name: HookDrop, Variants: traced("drop")},
		},
	}
}

// traced are the two variants of a program at a tracepoint. tp_btf exists since 5.5.
func traced(program string) []Variant {
	return []Variant{
		{Name: "tp_btf", Programs: []string{program + "_tp_btf"}},
		{Name: "raw_tp", Programs: []string{program + "_raw_tp"}, Impact: "each field of a packet is read by a helper call: about 50 ns more per packet"},
	}
}

// Protocols is a set of protocols, of those that the path object distinguishes: WANT_ of path.bpf.c.
type Protocols uint32

// The protocols.
const (
	TCP Protocols = 1 << iota
	UDP
	ICMP
	Other

	AllProtocols = TCP | UDP | ICMP | Other
)

// Flags of TCP, for the filter of its packets.
const (
	FlagSYN = 0x02
	FlagRST = 0x04
)

// MaxPorts is how many ports the path object can look for.
const MaxPorts = 8

// PathFilter is which packets the path object records. It implements Globals.
type PathFilter struct {
	Hops     Protocols // of which the packets are recorded at every device
	Drops    Protocols // of which the drops are recorded
	TCPFlags uint32    // hops of TCP packets with one of these flags only; 0: of all
	Ports    []uint    // of either end, at most MaxPorts; none: all
	Snap     uint32    // bytes to take of a packet, at most 512
	// MostPerSecond is how many packets of one conversation are followed in each direction; 0: all. It counts UDP of two
	// sockets, and SYNs of one host to a port of another; what else there is, DNS and drops are always recorded.
	MostPerSecond uint32
}

func (f PathFilter) Values() map[string]any {
	return map[string]any{
		"hop_protocols":  uint32(f.Hops),
		"drop_protocols": uint32(f.Drops),
		"hop_tcp_flags":  f.TCPFlags,
		"ports_wanted":   uint32(min(len(f.Ports), MaxPorts)),
		"ports":          portArray(f.Ports),
		"snap":           f.Snap,
		"follow_most":    f.MostPerSecond,
		"follow_seed":    rand.Uint32(),
	}
}

// portArray is the type of the objects' arrays of ports; ports beyond MaxPorts are left out.
func portArray(ports []uint) (all [MaxPorts]uint16) {
	for i, p := range ports[:min(len(ports), MaxPorts)] {
		all[i] = uint16(p)
	}
	return all
}
