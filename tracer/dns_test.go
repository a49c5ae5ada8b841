// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/reassembly"
	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

// dnsOptions take what sockets of one namespace say at port 53.
func dnsOptions(ns *lab.NS) Options {
	return Options{
		Probes: []string{probe.Path, probe.DNS}, Shared: []string{"sel_netns"},
		Globals: []probe.Globals{
			probe.PathFilter{Hops: probe.TCP, Drops: probe.TCP, TCPFlags: probe.FlagSYN | probe.FlagRST, Ports: []uint{53}},
			probe.Selection{Selecting: true},
			probe.DNSPorts{53},
		},
		Prepare: func(m probe.Maps) error { return m(probe.Path, "sel_netns").Put(ns.Inode(), uint8(1)) },
	}
}

// echoesTCP takes connections at an address and sends back what comes.
func echoesTCP(ns *lab.NS, addr string) {
	ns.ServeTCP(addr, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
}

// converse sends n messages over a connection of its own, and takes each back.
func converse(t testing.TB, pod *lab.Pod, addr string, n int) {
	t.Helper()
	pod.Do(func() {
		conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		part := make([]byte, 3000)
		for range n {
			if _, err := conn.Write(part); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, part); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// said sums up the segments of a namespace's sockets.
type said struct {
	bytes   [2]int // out, in
	ends    [2]int
	senders int // segments with their process
	to      netip.AddrPort
}

func saidIn(t *testing.T, ns *lab.NS, events []event.Event) said {
	t.Helper()
	var s said
	var streams [2]reassembly.Stream
	for _, e := range events {
		if _, ok := e.Body.(event.SocketSegment); !ok || e.Netns != ns.Inode() {
			continue
		}
		way := 0
		if s.to = e.Packet.Destination(); e.Direction == event.In {
			way, s.to = 1, e.Packet.Source()
		}
		if n := len(e.Packet.Transport()); n != int(e.Packet.Payload()) {
			t.Errorf("%d bytes of %d", n, e.Packet.Payload())
		}
		segment, _ := e.Packet.Segment()
		for _, p := range streams[way].Add(reassembly.Piece{Seq: segment.Seq, Data: e.Packet.Transport()}) { // some are sent again
			s.bytes[way] += len(p.Data)
		}
		if e.Packet.HasFlag('F') {
			s.ends[way]++
		}
		if e.PID != 0 {
			s.senders++
		}
	}
	return s
}

func TestSocketsReportWhatIsSaidAtPortsOfDNS(t *testing.T) {
	t.Parallel()
	for _, f := range []struct{ tool, service, backend string }{
		{"iptables", lab.ServiceDNS, lab.ServerAddr}, {"ip6tables", lab.ServiceDNS6, lab.ServerAddr6},
	} {
		t.Run(f.tool, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			pod, other := c.AddPod("a"), c.AddPod("b")
			service, backend := net.JoinHostPort(f.service, "53"), net.JoinHostPort(f.backend, "5353")
			c.Node.Run(f.tool, "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-d", f.service, "--dport", "53", "-j", "DNAT", "--to-destination", backend)
			echoesTCP(c.Server, backend)
			echoesTCP(c.Server, net.JoinHostPort(f.backend, "54"))
			converse(t, pod, service, 1) // neighbours are resolved now
			o := dnsOptions(pod.NS)
			o.Prepare = func(m probe.Maps) error { // both ends
				for _, ns := range []*lab.NS{pod.NS, c.Server} {
					if err := m(probe.Path, "sel_netns").Put(ns.Inode(), uint8(1)); err != nil {
						return err
					}
				}
				return nil
			}
			tr, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			const n = 23
			converse(t, pod, service, n)
			converse(t, pod, net.JoinHostPort(f.backend, "54"), n) // is no server of DNS
			events, counts := drain(t, tr)
			client, server := saidIn(t, pod.NS, events), saidIn(t, c.Server, events)
			whole := [2]int{n * 3000, n * 3000}
			if client.bytes != whole || client.ends[0] == 0 || client.senders == 0 || client.to.String() != service {
				t.Errorf("the client's socket reports %+v, want %v bytes to %s", client, whole, service)
			}
			if server.bytes != whole || server.to.Addr().Unmap() != netip.MustParseAddr(map[bool]string{true: pod.Addr, false: pod.Addr6}[f.tool == "iptables"]) {
				t.Errorf("the server's socket reports %+v, want %v bytes", server, whole)
			}
			if inOther := saidIn(t, other.NS, events); inOther != (said{}) || counts.Lost.Total() != 0 {
				t.Errorf("others' sockets report %+v; %+v", inOther, counts)
			}
		})
	}
}

// BenchmarkDNS has a pod and a server talk past the path, the tls and the dns objects, as diagnose loads them, at a port
// that is no DNS server's and at one that is, and reports the kernel's own time for a run of each program.
func BenchmarkDNS(b *testing.B) {
	for name, port := range map[string]uint{"passed by": 54, "recorded": 8443} {
		b.Run(name, func(b *testing.B) {
			c := lab.NewCluster(b)
			pod := c.AddPod("a")
			o := dnsOptions(pod.NS)
			o.Probes, o.Variant = []string{probe.Path, probe.TLS, probe.DNS}, "tp_btf"
			o.Globals = append(o.Globals, probe.PathFilter{Hops: probe.TCP, Drops: probe.TCP, TCPFlags: probe.FlagSYN | probe.FlagRST}, probe.DNSPorts{port})
			o.RingBytes = 128 << 20 // it is not read
			say, end := conversation(b, c, pod, false, 0)
			defer end()
			say(64)
			measure(b, o, func() { say(b.N) }, append(hopPrograms, "tls tls_out", "tls tls_in", "dns dns_out", "dns dns_in")...)
		})
	}
}
