// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

// BenchmarkPath sends datagrams between pods of two nodes, and between pods and a server without a tunnel, and reports
// the kernel's own time for a run of each program: of packets that the view does not ask for, and of those that it does.
func BenchmarkPath(b *testing.B) {
	for _, bench := range []struct {
		name   string
		port   uint // that the view asks for
		tunnel bool
	}{{"passed by", 54, false}, {"recorded", 53, false}, {"tunnel passed by", 54, true}, {"tunnel recorded", 53, true}} {
		b.Run(bench.name, func(b *testing.B) {
			c := lab.NewCluster(b)
			pod := c.AddPod("a")
			to := lab.ServerAddr
			if bench.tunnel {
				to = c.AddPeer(lab.Tunnel{Link: "vxlan id 42 dev nodes dstport 8472"}).Pod.Addr
			}
			o := pathOptions(pod.NS, "tp_btf")
			o.Globals = append(o.Globals, probe.PathFilter{Hops: probe.UDP | probe.ICMP, Drops: probe.UDP | probe.ICMP, Ports: []uint{bench.port}, Snap: 512})
			o.RingBytes = 128 << 20 // it is not read
			measure(b, o, func() { flood(b, pod, net.JoinHostPort(to, "53"), b.N) }, hopPrograms...)
		})
	}
}

// hopPrograms are those that see every packet.
var hopPrograms = []string{"path transmit_tp_btf", "path receive_tp_btf"}

// measure runs the traffic past some objects and reports what programs of theirs took.
func measure(b *testing.B, o Options, traffic func(), programs ...string) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	tr, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	defer tr.Close()
	b.ResetTimer()
	traffic()
	b.StopTimer()
	for _, program := range programs {
		probe, name, _ := strings.Cut(program, " ")
		s, err := tr.program(probe, name).Stats()
		if err != nil {
			b.Fatal(err)
		}
		if s.RunCount > 0 {
			b.ReportMetric(float64(s.Runtime/time.Nanosecond)/float64(s.RunCount), "ns/"+name)
			b.ReportMetric(float64(s.RunCount)/float64(b.N), name+"/op") // more than hops: others' packets, too
		}
	}
}

// flood sends n datagrams to an address without a receiver.
func flood(b *testing.B, pod *lab.Pod, addr string, n int) {
	pod.Do(func() {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		for range n {
			_, _ = conn.Write([]byte("a datagram of some length, as a query may be")) // refused ones report the one before
		}
	})
}
