package tracer

import (
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ktrace/bpf"
)

// SockProbe is the name of the probe that watches sockets.
const SockProbe = "sock"

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

// rawTP is the only way to run a program of the sock object: see bpf/sock.bpf.c.
func rawTP(programs ...string) []Variant {
	return []Variant{{Name: "raw_tp", Programs: programs}}
}

// sockProbe is the row of the sock object.
func sockProbe() Probe {
	return Probe{
		Name:   SockProbe,
		Load:   bpf.LoadSock,
		Kernel: readTick,
		Hooks: []Hook{
			{Name: HookResetSent, Variants: append(rawTP("send_reset_raw_tp"), Variant{
				Name:     "raw_tp_bare",
				Programs: []string{"send_reset_bare_raw_tp"},
				Impact:   "resets have no reason of the kernel's, and none is reported where there was no socket",
			})},
			{Name: HookResetReceived, Variants: rawTP("receive_reset_raw_tp")},
			{
				Name:     HookTCPState,
				Variants: rawTP("state_raw_tp"),
				Optional: true,
				Without:  "resets name neither the process that connected nor the state that a connection was closed in",
			},
			{
				Name:     HookSocketError,
				Variants: rawTP("error_raw_tp"),
				Optional: true,
				Without:  "connections that an administrator ended are not distinguished from those that timed out",
			},
			{
				Name:     HookRetransmit,
				Variants: rawTP("retransmit_raw_tp", "retransmit_synack_raw_tp"),
				Optional: true,
				Without:  "full accept queues are known by their counters only, and ways on which large packets vanish are not found",
			},
			{
				Name:     HookAcceptQueueFull,
				Variants: traceable("syn"),
				Optional: true,
				Without:  "full accept queues are known by their counters, a second late",
			},
			{
				Name:     HookICMPSent,
				Variants: rawTP("icmp_raw_tp"),
				Optional: true,
				Without:  "rejects by ICMP are known by their packets only",
			},
			{
				Name: HookNoRoute,
				Variants: append(rawTP("fib_raw_tp", "fib6_raw_tp"), Variant{
					Name:     "raw_tp_ipv4",
					Programs: []string{"fib_raw_tp"},
					Impact:   "connects by IPv6 that fail for want of a route are not seen",
				}),
				Optional: true,
				Without:  "connects that fail for want of a route, which make no packet, are not seen",
			},
			{
				Name:     HookReceiveBufferFull,
				Variants: rawTP("rcvqueue_full_raw_tp", "udp_full_raw_tp"),
				Optional: true,
				Without:  "full receive buffers are known by the drops only",
			},
		},
	}
}

// tick is how long a jiffy is: what the coarse clocks resolve. The sock object counts idle times in them.
type tick time.Duration

func (t tick) globals() map[string]any { return map[string]any{"tick_ns": uint64(t)} }

// readTick returns none on an error, without which the object reports no idle time; the clock is as old as 2.6.32.
func readTick(*btf.Spec) []Globals {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return nil
	}
	return []Globals{tick(ts.Nano())}
}
