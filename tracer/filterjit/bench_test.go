// SPDX-License-Identifier: Apache-2.0

package filterjit_test

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
	"ktrace/tracer/filterjit"
)

// BenchmarkFrames has the kernel run filters over a TCP segment and reports its own time for one. The empty
// expression is what the call and the test run cost by themselves.
func BenchmarkFrames(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("loading eBPF programs needs root")
	}
	frame := filtertest.Packets()[0].Data
	for _, expr := range []string{"", "tcp port 443", "port 53", "host 10.244.1.3", "host 10.244.1.2 and (port 80 or 443)", "tcp[tcpflags] & tcp-rst != 0"} {
		e, err := pcapfilter.Parse(expr)
		if err != nil {
			b.Fatal(err)
		}
		main := asm.Instructions{asm.Mov.Imm(asm.R2, 0), asm.Call.Label(filterjit.FrameStub), asm.Return()}
		spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
			"test": {Type: ebpf.SchedCLS, License: "GPL", Instructions: append(main, stub(filterjit.FrameStub)...)},
		}}
		if _, err := filterjit.Splice(spec, e); err != nil {
			b.Fatal(err)
		}
		b.Run(expr, func(b *testing.B) {
			p, err := ebpf.NewProgram(spec.Programs["test"])
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			_, each, err := p.Benchmark(frame, max(b.N, 1000), b.ResetTimer)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/packet")
			b.ReportMetric(0, "ns/op") // is dominated by loading
		})
	}
}
