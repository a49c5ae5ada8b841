// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

const followed = 8 // packets of a conversation, in a second

// limited traces all packets of one namespace, but of each conversation only some.
func limited(ns *lab.NS, variant string) Options {
	o := pathOptions(ns, variant)
	o.Globals = []probe.Globals{
		probe.PathFilter{
			Hops: probe.TCP | probe.UDP, TCPFlags: probe.FlagSYN | probe.FlagRST, Drops: probe.AllProtocols, Snap: 128, MostPerSecond: followed,
		},
		probe.DNSPorts{53},
		probe.Selection{Selecting: true},
	}
	return o
}

// TestOfAConversationSomePacketsAreFollowedAllTheWay sends many like packets: those that are followed are followed to the end,
// through translation, and the others are counted.
func TestOfAConversationSomePacketsAreFollowedAllTheWay(t *testing.T) {
	t.Parallel()
	for _, variant := range []string{"tp_btf", "raw_tp"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			pod := c.AddPod("a")
			service, backend := net.JoinHostPort(lab.ServiceDNS, "5300"), net.JoinHostPort(lab.ServerAddr, "5301")
			c.Node.Run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-d", lab.ServiceDNS, "--dport", "5300",
				"-j", "DNAT", "--to-destination", backend)
			echo(t, c, backend)
			exchange(t, pod, service, 1)
			tr, err := Open(limited(pod.NS, variant))
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			const n = 300
			began := time.Now()
			exchange(t, pod, service, n)
			periods := int(time.Since(began)/time.Second) + 2
			events, counts := drain(t, tr)
			journeys := byJourney(events)
			if most := 2 * followed * periods; len(journeys) < 2*followed || len(journeys) > most {
				t.Errorf("%d journeys, want %d to %d", len(journeys), 2*followed, most)
			}
			for _, j := range journeys {
				checkWay(t, c, pod, j, netip.MustParseAddrPort(service), netip.MustParseAddrPort(backend))
			}
			if rest := uint64(2*n-len(journeys)) * 4; counts.Filtered < rest { // others' packets are, too
				t.Errorf("%d filtered, want 4 hops of each packet that is not followed, %d: %+v", counts.Filtered, rest, counts)
			}
		})
	}
}

// TestWhatMattersIsAlwaysFollowed sends more than is followed of a conversation: DNS, also to a server at a port of its own; what
// is dropped; and SYNs that nobody answers, which are sent again.
func TestWhatMattersIsAlwaysFollowed(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	pod.Sysctl("net/ipv4/tcp_syn_retries", "1")
	service, backend := net.JoinHostPort(lab.ServiceDNS, "53"), net.JoinHostPort(lab.ServerAddr, "5353")
	c.Node.Run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-d", lab.ServiceDNS, "--dport", "53",
		"-j", "DNAT", "--to-destination", backend)
	c.Node.Run("iptables", "-A", "FORWARD", "-p", "udp", "--dport", "9", "-j", "DROP")
	c.Server.Run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "99", "-j", "DROP")
	echo(t, c, backend)
	exchange(t, pod, service, 1)
	tr, err := Open(limited(pod.NS, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	const n = 4 * followed
	exchange(t, pod, service, n)
	pod.Do(func() { discard(t, n) })
	connectInSilence(t, pod, n)
	events, _ := drain(t, tr)
	dns, drops, again := 0, 0, 0
	for _, j := range byJourney(events) {
		switch p := j[0].Packet; {
		case p.Dport == 53 || p.Sport == 5353:
			dns++
		case p.Dport == 99 && p.HasFlag('S'):
			again++
		}
	}
	for _, e := range events {
		if e.Body.Kind() == event.KindDrop && e.Packet.Dport == 9 {
			drops++
		}
	}
	if dns != 2*n {
		t.Errorf("%d queries and answers were followed, want %d", dns, 2*n)
	}
	if drops != n {
		t.Errorf("%d drops, want %d", drops, n)
	}
	if again < n+followed {
		t.Errorf("%d SYNs were followed, want %d that were sent again, and %d of the first", again, n, followed)
	}
}

// discard sends datagrams to a port that the node drops.
func discard(t *testing.T, n int) {
	conn, err := net.Dial("udp", net.JoinHostPort(lab.ServerAddr, "9"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range n {
		if _, err := conn.Write([]byte("lost")); err != nil {
			t.Fatal(err)
		}
	}
}

// connectInSilence makes connections at one time that are not answered, and waits until the kernel gives them up.
func connectInSilence(t *testing.T, pod *lab.Pod, n int) {
	ends := make(chan error)
	for range n {
		go pod.Do(func() {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(lab.ServerAddr, "99"), time.Minute)
			if err == nil {
				conn.Close()
			}
			ends <- err
		})
	}
	for range n {
		if err := <-ends; err == nil {
			t.Error("a server answers whose node drops")
		}
	}
}
