package tracer

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attachProgram attaches where the section's name says: type/target.
func attachProgram(spec *ebpf.ProgramSpec, p *ebpf.Program) (link.Link, error) {
	kind, target, _ := strings.Cut(spec.SectionName, "/")
	switch kind {
	case "tp_btf", "fentry", "fexit":
		return link.AttachTracing(link.TracingOptions{Program: p})
	case "raw_tp":
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: target, Program: p})
	case "tracepoint":
		group, name, _ := strings.Cut(target, "/")
		return link.Tracepoint(group, name, p, nil)
	case "kprobe":
		return link.Kprobe(target, p, nil)
	case "kretprobe":
		return link.Kretprobe(target, p, nil)
	}
	return nil, fmt.Errorf("section %q has no way to attach", spec.SectionName)
}
