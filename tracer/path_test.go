// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

// pathOptions trace the packets of one namespace to port 53, wherever they are translated to.
func pathOptions(ns *lab.NS, variant string) Options {
	return Options{
		Probes:  []string{probe.Path},
		Variant: variant,
		Globals: []probe.Globals{
			probe.PathFilter{Hops: probe.UDP | probe.ICMP, Drops: probe.UDP | probe.ICMP, Ports: []uint{53}, Snap: 512},
			probe.Selection{Selecting: true},
		},
		Prepare: func(m probe.Maps) error { return m(probe.Path, "sel_netns").Put(ns.Inode(), uint8(1)) },
	}
}

// echo answers every datagram at an address of the server until the test ends.
func echo(t *testing.T, c *lab.Cluster, addr string) {
	t.Helper()
	echoAt(t, c.Server, addr)
}

// echoAt is echo in another namespace.
func echoAt(t *testing.T, ns *lab.NS, addr string) {
	t.Helper()
	ns.Do(func() {
		conn, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				if _, err := conn.WriteTo(buf[:n], from); err != nil {
					t.Error(err)
				}
			}
		}()
	})
}

// exchange sends n datagrams from a pod and waits for each to come back.
func exchange(t *testing.T, pod *lab.Pod, addr string, n int) {
	t.Helper()
	pod.Do(func() {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		buf := make([]byte, 2048)
		for i := range n {
			if _, err := fmt.Fprintf(conn, "datagram number %d", i); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestPathFollowsPacketsThroughTranslation(t *testing.T) {
	t.Parallel()
	for i, family := range []struct{ tool, service, backend string }{
		{"iptables", lab.ServiceDNS, lab.ServerAddr},
		{"ip6tables", lab.ServiceDNS6, lab.ServerAddr6},
	} {
		for j, variant := range []string{"tp_btf", "raw_tp"} {
			if testing.Short() && i != j { // where a kernel is emulated
				continue
			}
			t.Run(family.tool+" "+variant, func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				pod, other := c.AddPod("a"), c.AddPod("b")
				service := net.JoinHostPort(family.service, "53")
				backend := net.JoinHostPort(family.backend, "5353")
				c.Node.Run(family.tool, "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-d", family.service, "--dport", "53",
					"-j", "DNAT", "--to-destination", backend)
				echo(t, c, backend)
				exchange(t, pod, service, 1) // neighbours are resolved now
				tr, err := Open(pathOptions(pod.NS, variant))
				if err != nil {
					t.Fatal(err)
				}
				defer tr.Close()
				const n = 23
				exchange(t, pod, service, n)
				exchange(t, other, service, n)
				events, _ := drain(t, tr)
				journeys := byJourney(events)
				if len(journeys) != 2*n {
					t.Errorf("%d journeys, want %d queries and as many answers", len(journeys), n)
				}
				for _, j := range journeys {
					checkWay(t, c, pod, j, netip.MustParseAddrPort(service), netip.MustParseAddrPort(backend))
				}
				if t.Failed() {
					for _, e := range events {
						if e.Packet != nil {
							t.Log(e.Journey, event.Place(e), e.Packet.Flow(), e.Body.Summary())
						}
					}
				}
			})
		}
	}
}

func TestPacketsFromBeforeAllWasAttachedAreNotReported(t *testing.T) {
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	server := net.JoinHostPort(lab.ServerAddr, "53")
	echo(t, c, server)
	exchange(t, pod, server, 1)
	const early, n = 19, 23
	o := pathOptions(pod.NS, "")
	o.Attach = func(probe.Programs) (io.Closer, error) { // some hooks see packets while others are still to come
		exchange(t, pod, server, early)
		return nil, nil
	}
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	exchange(t, pod, server, n)
	events, counts := drain(t, tr)
	if j := byJourney(events); len(j) != 2*n {
		t.Errorf("%d journeys, want those of %d queries and answers", len(j), n)
	}
	if counts.Filtered < 2*early {
		t.Errorf("%d put aside, want those of %d queries and answers at least: %+v", counts.Filtered, early, counts)
	}
}

// byJourney sorts hops by their journey, in the order in which journeys began.
func byJourney(events []event.Event) [][]event.Event {
	at := map[uint64]int{}
	var journeys [][]event.Event
	for _, e := range events {
		if e.Body.Kind() != event.KindHop {
			continue
		}
		i, ok := at[e.Journey]
		if !ok {
			i = len(journeys)
			at[e.Journey] = i
			journeys = append(journeys, nil)
		}
		journeys[i] = append(journeys[i], e)
	}
	return journeys
}

// checkWay wants a query or an answer with all four hops, addresses translated where they must be, and the bytes.
func checkWay(t *testing.T, c *lab.Cluster, pod *lab.Pod, hops []event.Event, service, backend netip.AddrPort) {
	t.Helper()
	spaces := []uint32{pod.Inode(), c.Node.Inode(), c.Node.Inode(), c.Server.Inode()}
	answer := hops[0].Netns == c.Server.Inode()
	if answer {
		slices.Reverse(spaces)
	}
	var got []uint32
	for _, h := range hops {
		got = append(got, h.Netns)
	}
	if !slices.Equal(got, spaces) {
		t.Errorf("way %v, want %v", got, spaces)
		return
	}
	if len(hops[0].Packet.Transport()) == 0 {
		t.Error("the first hop has no bytes")
	}
	if !answer && hops[0].PID == 0 {
		t.Error("the sender is not known")
	}
	before, after := hops[0].Packet.Destination(), hops[3].Packet.Destination()
	wantBefore, wantAfter := service, backend
	if answer {
		before, after = hops[0].Packet.Source(), hops[3].Packet.Source()
		wantBefore, wantAfter = backend, service
	}
	if before != wantBefore || after != wantAfter {
		t.Errorf("%v became %v, want %v and %v", before, after, wantBefore, wantAfter)
	}
	atUplink := hops[2]
	if answer {
		return
	}
	hop, ok := atUplink.Body.(event.Hop)
	if !ok || !hop.Conntrack.DNAT() || hop.Conntrack.Original.Dst != service || hop.Conntrack.Reply.Src != backend {
		t.Errorf("conntrack at the uplink: %+v", atUplink.Body)
	}
}

// TestPathTakesNoOtherPodsNeighbourDiscovery: of all pods these messages are the same but for addresses, and buffers are used
// again at once, so that another pod's was taken for one of the selected pod on its further way.
func TestPathTakesNoOtherPodsNeighbourDiscovery(t *testing.T) {
	c := lab.NewCluster(t)
	pod, other := c.AddPod("a"), c.AddPod("b")
	other.Run("nft", "add table inet lab; add chain inet lab o { type filter hook output priority 0; policy drop; }")
	o := pathOptions(pod.NS, "")
	o.Globals = append(o.Globals, probe.PathFilter{Hops: probe.UDP | probe.ICMP, Drops: probe.UDP | probe.ICMP, Snap: 512}) // of every port
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	const rounds = 50
	mine, others := advertiser(t, pod), advertiser(t, other)
	runtime.LockOSThread() // buffers that were freed are handed out again on the CPU where they were
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	one.Set(0)
	if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &one)); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &before)
	for range rounds {
		mine()
		others()
	}
	events, _ := drain(t, tr)
	seen := 0
	for _, e := range events {
		if e.Packet == nil || e.Packet.ICMPType != 136 || e.Packet.Proto != "icmpv6" {
			continue
		}
		seen++
		if e.Packet.Src == netip.MustParseAddr(other.Addr6) {
			t.Fatalf("an advertisement of the other pod is among those of the selected one: %v, journey %d", e.Packet, e.Journey)
		}
	}
	if seen < rounds {
		t.Errorf("%d of the pod's advertisements were seen, want %d at the least", seen, rounds)
	}
}

// advertiser returns what has a pod send a neighbour advertisement to the node.
func advertiser(t *testing.T, pod *lab.Pod) func() {
	t.Helper()
	message := packettest.Build(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)},
		&layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: net.ParseIP(pod.Addr6)}) // solicited, override
	var conn net.PacketConn
	pod.Do(func() {
		var err error
		if conn, err = net.ListenPacket("ip6:ipv6-icmp", pod.Addr6); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { conn.Close() })
	node := &net.IPAddr{IP: net.ParseIP(lab.UplinkAddr6)}
	return func() {
		if _, err := conn.WriteTo(message, node); err != nil && !errors.Is(err, unix.EPERM) { // of a filter of its own
			t.Fatal(err)
		}
	}
}
