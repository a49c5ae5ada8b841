package tracer

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attachTC runs a program at a device of the calling thread's network namespace.
func attachTC(ifindex int, p *ebpf.Program, egress bool, variant string) (io.Closer, error) {
	at := ebpf.AttachTCXIngress
	if egress {
		at = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: p, Attach: at, Anchor: link.Head()})
	if err != nil {
		return nil, fmt.Errorf("tcx: %w", err)
	}
	return l, nil
}
