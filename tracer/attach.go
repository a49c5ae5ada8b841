// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"ktrace/tracer/host"
)

// attachProgram attaches where the section's name says: type/target.
func attachProgram(spec *ebpf.ProgramSpec, p *ebpf.Program) (link.Link, error) {
	kind, target, _ := strings.Cut(spec.SectionName, "/")
	switch kind {
	case "iter":
		return link.AttachIter(link.IterOptions{Program: p})
	case "tp_btf", "fentry", "fexit":
		return link.AttachTracing(link.TracingOptions{Program: p})
	case "raw_tp":
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: target, Program: p})
	case "tracepoint":
		return attachTracepoint(target, p)
	case "cgroup_skb":
		return attachCgroup(spec, p)
	case "kprobe":
		return attachKprobe(target, p)
	}
	return nil, fmt.Errorf("section %q has no way to attach", spec.SectionName)
}

// mayAttach returns why a program cannot be attached, before the verifier spends time on it.
func mayAttach(spec *ebpf.ProgramSpec) error {
	if kind, _, _ := strings.Cut(spec.SectionName, "/"); kind != "kprobe" {
		return nil
	}
	if _, err := os.Stat(kprobeEvents); err != nil {
		return fmt.Errorf("no kprobes in this kernel, or no /sys: %w", err)
	}
	return nil
}

// kprobeEvents exists if the kernel was built with kprobes that perf_event_open accepts (4.17).
const kprobeEvents = "/sys/bus/event_source/devices/kprobe/type"

// attachKprobe attaches to one function by perf_event_open. Where the kernel has kprobe.multi, see attachKprobeMulti.
func attachKprobe(target string, p *ebpf.Program) (link.Link, error) {
	l, err := link.Kprobe(target, p, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, notThere(target, err)
	}
	return l, err
}

func attachTracepoint(target string, p *ebpf.Program) (l link.Link, err error) {
	group, name, _ := strings.Cut(target, "/")
	err = host.WithTracefs(func() error {
		l, err = link.Tracepoint(group, name, p, nil)
		return err
	})
	switch {
	case errors.As(err, &host.NoTracefsError{}):
		err = fmt.Errorf("%w; %s", err, host.TracefsRemedy)
	case errors.Is(err, os.ErrPermission): // Debian's level 3 ignores CAP_PERFMON
		err = fmt.Errorf("%w; where kernel.perf_event_paranoid is above 2, give CAP_SYS_ADMIN, or sysctl -w kernel.perf_event_paranoid=2", err)
	}
	return l, err
}
