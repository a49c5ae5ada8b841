// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"ktrace/testdata/lab"
)

// TestDropNamesTheProgramThatDrops: where the kernel has a reason for it, and where only the function shows it. Kernels before 6.11
// do not say for which socket a packet was that is refused as it arrives: what all can is the last.
func TestDropNamesTheProgramThatDrops(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range []lab.Scenario{
			f.expressed("XDP, generic", link.XDPGenericMode), f.expressed("XDP, the driver's", link.XDPDriverMode),
			f.grouped("a control group's, of what it receives", ebpf.AttachCGroupInetIngress, "likely", "A BPF program of the receiver's control group (program "),
			f.grouped("a control group's, of what it sends", ebpf.AttachCGroupInetEgress, "certain", "A BPF program of the sender's control group (program "),
		} {
			s.Name = f.name + " " + s.Name
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// expressed is an XDP program at the node's end of the pod's device.
func (f stack) expressed(name string, mode link.XDPAttachFlags) lab.Scenario {
	return lab.Scenario{
		Name: name, Args: []string{"dns"}, Want: "bpf-drop", Sure: "certain", Title: "An XDP program at veth1 in netns", Proof: "lab_drops, at xdp",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			serveDNS(t, c.Server, net.JoinHostPort(f.server, "53"), wellServed)
		},
		Fault: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			prog := refusing(t, ebpf.XDP, 1, 2) // XDP_DROP, XDP_PASS
			c.Node.Do(func() {
				dev, err := net.InterfaceByName(p.Veth)
				if err != nil {
					t.Fatal(err)
				}
				l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.Index, Flags: mode})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
			})
		},
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.server, "web.example.") },
	}
}

// grouped is a program at the control group of the pod, which asks, or serves.
func (f stack) grouped(name string, at ebpf.AttachType, sure, title string) lab.Scenario {
	var pods sync.Map // of the clusters
	return lab.Scenario{
		Name: name, Args: []string{"drop"}, Want: "bpf-drop", Sure: sure, Title: title, Proof: "lab_drops, at cgroup/",
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			echoUDP(t, c.Server, "9999")
			pods.Store(c, lab.NewKubelet(t).Pod("shop", "web-0"))
		},
		Fault: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			kp, _ := pods.Load(c)
			l, err := link.AttachCgroup(link.CgroupOptions{Path: kp.(*lab.KubePod).Cgroup2(), Attach: at, Program: refusing(t, ebpf.CGroupSKB, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		},
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			const ask = `exec 3<>/dev/udp/$0/9999; for i in 1 2 3 4 5 6 7 8; do printf %0200d 0 >&3; read -t 0.3 -N 64 -u 3; done; true`
			kp, _ := pods.Load(c)
			kp.(*lab.KubePod).Start("app", p.NS, "bash", "-c", ask, f.server).Wait()
		},
	}
}

// refusing is a program that refuses what is longer than ARP and neighbour discovery.
func refusing(t testing.TB, kind ebpf.ProgramType, no, yes int32) *ebpf.Program {
	t.Helper()
	const longest = 90                                                   // with the link header
	length := asm.Instructions{asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)} // __sk_buff.len
	if kind == ebpf.XDP {
		length = asm.Instructions{asm.LoadMem(asm.R2, asm.R1, 4, asm.Word), asm.LoadMem(asm.R3, asm.R1, 0, asm.Word), asm.Sub.Reg(asm.R2, asm.R3)} // xdp_md.data_end, data
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "lab_drops", Type: kind, License: "GPL", Instructions: append(length,
		asm.Mov.Imm(asm.R0, yes),
		asm.JLE.Imm(asm.R2, longest, "end"),
		asm.Mov.Imm(asm.R0, no),
		asm.Return().WithSymbol("end"),
	)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog
}
