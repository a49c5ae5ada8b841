// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Sock is the name of the probe that traces sockets.
const Sock = "sock"

// Hooks of the sock object.
const (
	HookResetSent         = "TCP resets sent"
	HookResetReceived     = "TCP resets received"
	HookTCPState          = "TCP state changes"
	HookSocketError       = "socket errors"
	HookRetransmit        = "TCP retransmissions"
	HookAcceptQueueFull   = "TCP accept queue full"
	HookICMPSent          = "ICMP errors sent"
	HookNoRoute           = "connect without route"
	HookReceiveBufferFull = "socket receive buffer full"
)

// rawTP is the only variant of most programs of the sock object: see bpf/sock.bpf.c.
func rawTP(programs ...string) []Variant {
	return []Variant{{Name: "raw_tp", Programs: programs}}
}

// sockProbe is the row of the sock object.
func sockProbe() Probe {
	return Probe{
		Name:   Sock,
		Kernel: readTick,
		Hooks: []Hook{
			{Name: HookResetSent, Variants: append(rawTP("send_reset_raw_tp"), Variant{
				Name:     "raw_tp_bare",
				Programs: []string{"send_reset_bare_raw_tp"},
				Impact:   "resets have no kernel reason, and those without a socket are not reported",
			})},
			{Name: HookResetReceived, Variants: rawTP("receive_reset_raw_tp")},
			{
				Name:     HookTCPState,
				Variants: rawTP("state_raw_tp", "destroy_raw_tp"), // or what is remembered of a socket would never be forgotten
				Optional: true,
				Without:  "resets name neither the connecting process nor the TCP state",
			},
			{
				Name:     HookSocketError,
				Variants: rawTP("error_raw_tp"),
				Optional: true,
				Without:  "connections that were destroyed (ss -K) are not distinguished from those that timed out",
			},
			{
				Name:     HookRetransmit,
				Variants: rawTP("retransmit_raw_tp", "retransmit_synack_raw_tp"),
				Optional: true,
				Without:  "full accept queues are known by counters only, and path-MTU black holes are not found",
			},
			{
				Name:     HookAcceptQueueFull,
				Variants: traceable("syn"),
				Optional: true,
				Without:  "full accept queues are known by counters only, a second late",
			},
			{
				Name:     HookICMPSent,
				Variants: rawTP("icmp_raw_tp"),
				Optional: true,
				Without:  "ICMP errors of this node are known by their packets only",
			},
			{
				Name: HookNoRoute,
				Variants: append(rawTP("fib_raw_tp", "fib6_raw_tp"), Variant{
					Name:     "raw_tp_ipv4",
					Programs: []string{"fib_raw_tp"},
					Impact:   "IPv6 connects and answers without a route are not seen",
				}),
				Optional: true,
				Without:  "connects and answers over UDP without a route, which send no packet, are not seen",
			},
			{
				Name:     HookReceiveBufferFull,
				Variants: rawTP("rcvqueue_full_raw_tp", "udp_full_raw_tp"),
				Optional: true,
				Without:  "full receive buffers are known by their drops only",
			},
		},
	}
}

// tick is how long a jiffy is, which is the resolution of the coarse clocks. The sock object needs it for idle times.
type tick time.Duration

func (t tick) Values() map[string]any { return map[string]any{"tick_ns": uint64(t)} }

// readTick returns nil on an error; the object then reports no idle times. The clock exists since 2.6.32.
func readTick(*btf.Spec) []Globals {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return nil
	}
	return []Globals{tick(ts.Nano())}
}
