// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// TestDropNamesWhatTheReasonMeans: of reasons that no deeper proof is for.
func TestDropNamesWhatTheReasonMeans(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range []lab.Scenario{f.shaped(), f.damaged(), f.programmed(), f.unplugged(), f.silent(), f.itself()} {
			s.Name = f.name + " " + s.Name
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// shaped is a device whose rate is too low for what is sent. TCP meets a full queue at a fair rate, too.
func (f stack) shaped() lab.Scenario {
	shape := func(c *lab.Cluster, p *lab.Pod, rate, latency string) {
		c.Node.Run("tc", "qdisc", "replace", "dev", p.Veth, "root", "tbf", "rate", rate, "burst", "16kb", "latency", latency)
	}
	return lab.Scenario{
		Name: "a rate that is too low", Args: []string{"drop"}, Want: "queue-drop", Sure: "certain", Proof: "qdisc tbf ",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			pourTCP(t, c.Server, "80")
			shape(c, p, "100mbit", "100ms")
		},
		Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) { shape(c, p, "300kbit", "30ms") },
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			drink(p.NS, net.JoinHostPort(f.server, "80"), 4*time.Second)
		},
	}
}

// damaged are datagrams whose checksum is rewritten on the way.
func (f stack) damaged() lab.Scenario {
	return lab.Scenario{
		Name: "checksums are rewritten", Args: []string{"drop"}, Want: "checksum-error", Sure: "certain", Proof: "drops for that reason",
		Setup:   func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { echoUDP(t, p.NS, "9999") },
		Fault:   onNode("nft", "add table inet lab; add chain inet lab c { type filter hook forward priority 0; }; add rule inet lab c udp dport 9999 udp checksum set 0x1bad"),
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) { sendSummed(t, c.Server, f.server, f.addr(p), 9999, 8) },
	}
}

// programmed is a program at the pod's device that lets nothing pass to a port.
func (f stack) programmed() lab.Scenario {
	return lab.Scenario{
		Name: "a program takes the queries", Args: []string{"dns"}, Want: "bpf-drop", Sure: "certain", Proof: "program ",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			serveDNS(t, c.Server, net.JoinHostPort(f.server, "53"), wellServed)
		},
		Fault:   func(t testing.TB, c *lab.Cluster, p *lab.Pod) { dropLong(t, c.Node, p.Veth, ebpf.AttachTCXIngress) },
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.server, "web.example.") },
	}
}

// unplugged is a device whose other end is down. A network plugin has set the neighbour, so that nothing looks for it.
func (f stack) unplugged() lab.Scenario {
	return lab.Scenario{
		Name: "no carrier", Args: []string{"drop"}, Want: "kernel-drop", Sure: "certain", Title: "The device at uplink in netns", Proof: "drops for that reason",
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			echoUDP(t, c.Server, "9999")
			var mac string
			c.Server.Do(func() {
				dev, err := net.InterfaceByName("eth0")
				if err != nil {
					t.Fatal(err)
				}
				mac = dev.HardwareAddr.String()
			})
			f.do(c.Node, "neigh replace "+f.server+" lladdr "+mac+" dev uplink nud permanent")
		},
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { c.Server.IP("link set eth0 down") },
		Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
			for range 8 {
				ask(t, p.NS, net.JoinHostPort(f.server, "9999"))
			}
		},
	}
}

// silent is the same without what a plugin sets: the kernel looks for the neighbour, and gets no answer.
func (f stack) silent() lab.Scenario {
	return lab.Scenario{
		Name: "no carrier, and no neighbour", Args: []string{"drop"}, Want: "neighbour-failed", Sure: "certain", Title: "uplink has no carrier", Proof: "neighbour ",
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) { echoTCP(t, c.Server, "80") },
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { c.Server.IP("link set eth0 down") },
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			fetch(p.NS, net.JoinHostPort(f.server, "80"), 4*time.Second)
		},
	}
}

// itself is a pod on a bridge that asks a service whose backend it is.
func (f stack) itself() lab.Scenario {
	service := net.JoinHostPort(f.service(), "80")
	return lab.Scenario{
		Name: "no hairpin", Args: []string{"drop"}, Want: "hairpin-disabled", Sure: "certain", Proof: "conntrack entry",
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			f.bridge(t, c, p)
			prefix := map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]
			c.Node.IP("addr add " + f.sub(p, "1") + prefix + " dev br0 nodad")
			c.Node.Run("bridge", "link", "set", "dev", "port1", "hairpin", "on")
			f.do(p.NS, "route add "+f.service()+f.bits()+" via "+f.sub(p, "1"))
			f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.sub(p, "2"), "80"))
			c.Node.Run(f.iptables, "-t", "nat", "-A", "POSTROUTING", "-s", f.sub(p, "2"), "-d", f.sub(p, "2"), "-j", "MASQUERADE")
			echoTCP(t, p.NS, "80")
		},
		Fault:   onNode("bridge", "link", "set", "dev", "port1", "hairpin", "off"),
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { fetch(p.NS, service, patience) },
	}
}

// dropLong attaches a program that drops what is longer than ARP and neighbour discovery.
func dropLong(t testing.TB, ns *lab.NS, device string, at ebpf.AttachType) {
	t.Helper()
	const pass, shot, longest = -1, 2, 90 // TCX_NEXT, TC_ACT_SHOT, with the link header
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "lab_drops", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // __sk_buff.len
			asm.Mov.Imm(asm.R0, pass),
			asm.JLE.Imm(asm.R2, longest, "end"),
			asm.Mov.Imm(asm.R0, shot),
			asm.Return().WithSymbol("end"),
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	ns.Do(func() {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			t.Fatal(err)
		}
		l, err := link.AttachTCX(link.TCXOptions{Program: prog, Attach: at, Interface: dev.Index})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	})
}

// sendSummed sends datagrams whose checksum is made here: what a device of the lab is to make itself is believed.
func sendSummed(t testing.TB, ns *lab.NS, from, to string, port uint16, n int) {
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	ns.Do(func() {
		domain, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: dst.As16()})
		if dst.Is4() {
			domain, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: dst.As4()}
		}
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		for i := range n {
			packet := packettest.UDP(netip.AddrPortFrom(src, uint16(40000+i)), netip.AddrPortFrom(dst, port), []byte("data"))
			b := packettest.Read(packet).NetworkLayer().LayerPayload() // the kernel makes the IP header
			if err := unix.Sendto(fd, b, 0, sa); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// pourTCP sends to each client that connects as much as the connection takes.
func pourTCP(t testing.TB, ns *lab.NS, port string) {
	t.Helper()
	ns.Do(func() {
		l, err := net.Listen("tcp", "[::]:"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for buf := make([]byte, 64<<10); ; {
						if _, err := c.Write(buf); err != nil {
							return
						}
					}
				}()
			}
		}()
	})
}

// drink reads from a server for a while.
func drink(ns *lab.NS, addr string, during time.Duration) {
	ns.Do(func() {
		c, err := net.DialTimeout("tcp", addr, during)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(during))
		for buf := make([]byte, 64<<10); err == nil; {
			_, err = c.Read(buf)
		}
	})
}
