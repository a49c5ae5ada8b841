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
		return attachTracepoint(target, p)
	case "kprobe":
		return link.Kprobe(target, p, nil)
	case "kretprobe":
		return link.Kretprobe(target, p, nil)
	}
	return nil, fmt.Errorf("section %q has no way to attach", spec.SectionName)
}

func attachTracepoint(target string, p *ebpf.Program) (l link.Link, err error) {
	group, name, _ := strings.Cut(target, "/")
	err = withTracefs(func() error {
		l, err = link.Tracepoint(group, name, p, nil)
		return err
	})
	return l, err
}
