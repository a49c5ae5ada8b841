package tracer

import (
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ktrace/bpf"
)

// rawTP is the only way to run a program of the sock object: see bpf/sock.bpf.c.
func rawTP(programs ...string) []Variant {
	return []Variant{{Name: "raw_tp", Programs: programs}}
}

// sockProbe is the row of the sock object.
func sockProbe() Probe {
	return Probe{
		Name:   "sock",
		Load:   bpf.LoadSock,
		Kernel: tick,
		Hooks: []Hook{
			{Name: "resets sent", Variants: append(rawTP("send_reset_raw_tp"), Variant{
				Name:     "raw_tp_bare",
				Programs: []string{"send_reset_bare_raw_tp"},
				Costs:    "resets have no reason of the kernel's, and none is reported where there was no socket",
			})},
			{Name: "resets received", Variants: rawTP("receive_reset_raw_tp")},
			{
				Name:     "connections change state",
				Variants: rawTP("state_raw_tp"),
				Optional: true,
				Without:  "resets name neither the process that connected nor the state that a connection was closed in",
			},
			{
				Name:     "sockets report errors",
				Variants: rawTP("error_raw_tp"),
				Optional: true,
				Without:  "connections that an administrator ended are not distinguished from those that timed out",
			},
			{
				Name:     "packets sent again",
				Variants: rawTP("retransmit_raw_tp", "retransmit_synack_raw_tp"),
				Optional: true,
				Without:  "full accept queues are known by their counters only, and ways on which large packets vanish are not found",
			},
			{
				Name:     "SYN lost to a full accept queue",
				Variants: traceable("syn"),
				Optional: true,
				Without:  "full accept queues are known by their counters, a second late",
			},
			{
				Name:     "ICMP errors sent",
				Variants: rawTP("icmp_raw_tp"),
				Optional: true,
				Without:  "rejects by ICMP are known by their packets only",
			},
			{
				Name: "no route to connect by",
				Variants: append(rawTP("fib_raw_tp", "fib6_raw_tp"), Variant{
					Name:     "raw_tp_ipv4",
					Programs: []string{"fib_raw_tp"},
					Costs:    "connects by IPv6 that fail for want of a route are not seen",
				}),
				Optional: true,
				Without:  "connects that fail for want of a route, which make no packet, are not seen",
			},
			{
				Name:     "receive buffers full",
				Variants: rawTP("rcvqueue_full_raw_tp", "udp_full_raw_tp"),
				Optional: true,
				Without:  "full receive buffers are known by the drops only",
			},
		},
	}
}

// tick tells the sock object how long a jiffy is: what the coarse clocks resolve.
func tick(*btf.Spec) map[string]any {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return nil // since 2.6.32; without it no idle time is told
	}
	return map[string]any{"tick_ns": uint64(ts.Nano())}
}
