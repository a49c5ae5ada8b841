// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

// ipStack is one family as the node's tools and the lab know it.
type ipStack struct{ name, iptables, server, uplink string }

func ipStacks() []ipStack {
	return []ipStack{
		{"ipv4", "iptables", lab.ServerAddr, lab.UplinkAddr},
		{"ipv6", "ip6tables", lab.ServerAddr6, lab.UplinkAddr6},
	}
}

// Ports that the node's rules are for.
const (
	firstDropped  = 1001 // as many as there are hooks
	rejectedPort  = 2001
	resetPort     = 2002
	servicePort   = 53
	untouchedPort = 3001
)

func hooksOf() []string {
	return []string{"prerouting", "input", "forward", "output", "postrouting"}
}

// firewalled makes a cluster whose node has rules of every sort that the netfilter object is about.
func firewalled(t testing.TB) (*lab.Cluster, *lab.Pod) {
	t.Helper()
	c := lab.NewCluster(t)
	pod := c.AddPod("pod")
	for _, s := range ipStacks() {
		var mangle [2]string // the first and every other hook of the legacy tool's; by the other the packet is freed elsewhere
		for i, hook := range hooksOf() {
			mangle[i%2] += fmt.Sprintf("-A %s -p udp --dport %d -j DROP\n", strings.ToUpper(hook), firstDropped+i)
		}
		restore(c.Node, s.iptables+"-nft", "*mangle\n"+mangle[1]+"COMMIT\n")
		restore(c.Node, s.iptables+"-legacy", "*mangle\n"+mangle[0]+"COMMIT\n*filter\n"+
			fmt.Sprintf("-A FORWARD -p tcp --dport %d -j REJECT\n", rejectedPort)+
			fmt.Sprintf("-A FORWARD -p tcp --dport %d -j REJECT --reject-with tcp-reset\n", resetPort)+
			"-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n*nat\n"+
			fmt.Sprintf("-A PREROUTING -p udp --dport %d -j DNAT --to-destination %s\nCOMMIT\n", servicePort, net.JoinHostPort(s.server, "5353")))
	}
	return c, pod
}

// restore gives a namespace rules in one go.
func restore(ns *lab.NS, tool, rules string) {
	ns.Run("sh", "-c", tool+"-restore <<'END'\n"+rules+"END\n")
}

// hookOf is the row of a hook, and of its probe.
func hookOf(t *testing.T, of, hook string) (probe.Probe, probe.Hook) {
	t.Helper()
	for _, p := range probe.All() {
		for _, h := range p.Hooks {
			if p.Name == of && h.Name == hook {
				return p, h
			}
		}
	}
	t.Fatalf("%s has no hook %q", of, hook)
	return probe.Probe{}, probe.Hook{}
}

// variantsOf names the variants of a hook.
func variantsOf(t *testing.T, of, hook string) (names []string) {
	t.Helper()
	_, h := hookOf(t, of, hook)
	for _, v := range h.Variants {
		names = append(names, v.Name)
	}
	return names
}

// watch opens the hooks of a probe by one variant, and skips the test where the kernel has not got what that needs.
func watch(t *testing.T, k *kernel, of, hook, variant string) *Tracer {
	t.Helper()
	p, h := hookOf(t, of, hook)
	spec, err := p.Load()
	if err != nil {
		t.Fatal(err)
	}
	v := h.Variants[slices.IndexFunc(h.Variants, func(v probe.Variant) bool { return v.Name == variant })]
	if lacks := k.wanting(t, spec, v); len(lacks) > 0 {
		t.Skipf("this kernel lacks %v", lacks)
	}
	tr, err := Open(Options{Probes: []string{of}, Variant: variant})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// decisions are netfilter's events of packets to a port, in one namespace.
func decisions(events []event.Event, ns *lab.NS, op event.NetfilterOp, port int) (all []event.Event) {
	for _, e := range events {
		n, ok := e.Body.(event.Netfilter)
		if ok && n.Op == op && e.Netns == ns.Inode() && int(e.Packet.Dport) == port {
			all = append(all, e)
		}
	}
	return all
}

// gather reads until there are events of n packets to a port, which may still be in flight when their sender is done, then
// stops the tracer and returns all events.
func gather(t *testing.T, tr *Tracer, ns *lab.NS, op event.NetfilterOp, n, port int) ([]event.Event, event.Counts) {
	t.Helper()
	const within = 20 * time.Second // of the slowest machine
	s := &decoder.Stream{Frames: tr}
	var events []event.Event
	for begun := time.Now(); len(decisions(events, ns, op, port)) < n && time.Since(begun) < within; {
		e, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	rest, counts := drain(t, tr)
	return append(events, rest...), counts
}

// say sends a datagram from a namespace.
func say(t *testing.T, from *lab.NS, to string, port int) {
	t.Helper()
	from.Do(func() {
		c, err := net.Dial("udp", net.JoinHostPort(to, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil && !strings.Contains(err.Error(), "not permitted") { // dropped on its way out
			t.Fatal(err)
		}
	})
}

// knock tries to connect from a namespace, as long as a busy machine may take to refuse.
func knock(from *lab.NS, to string, port int) {
	from.Do(func() {
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(to, strconv.Itoa(port)), 500*time.Millisecond); err == nil {
			c.Close()
		}
	})
}

func TestVerdictNamesTheHook(t *testing.T) {
	k := runningKernel(t)
	c, pod := firewalled(t)
	for _, variant := range variantsOf(t, probe.Netfilter, probe.HookVerdict) {
		t.Run(variant, func(t *testing.T) {
			tr := watch(t, k, probe.Netfilter, probe.HookVerdict, variant)
			for _, s := range ipStacks() {
				for i, hook := range hooksOf() {
					from, to := pod.NS, s.server
					switch hook {
					case "input":
						to = s.uplink
					case "output":
						from = c.Node
					}
					say(t, from, to, firstDropped+i)
				}
				say(t, pod.NS, s.server, untouchedPort)
			}
			last := firstDropped + len(hooksOf()) - 1
			events, counts := gather(t, tr, c.Node, event.NetfilterVerdict, len(ipStacks()), last)
			if counts.Lost.Total() > 0 {
				t.Errorf("lost %+v", counts.Lost)
			}
			for _, s := range ipStacks() {
				for i, hook := range hooksOf() {
					var got []string
					for _, e := range decisions(events, c.Node, event.NetfilterVerdict, firstDropped+i) {
						if n := e.Body.(event.Netfilter); e.Packet.Family == s.name {
							got = append(got, n.Family+" "+n.Hook)
						}
					}
					if want := []string{s.name + " " + hook}; !slices.Equal(got, want) {
						t.Errorf("%s: %q, want %q", hook, got, want)
					}
				}
			}
			if got := decisions(events, c.Node, event.NetfilterVerdict, untouchedPort); len(got) > 0 {
				t.Errorf("a packet that went on has a verdict: %+v", got)
			}
		})
	}
}

func TestEveryFlowWithoutANATRuleIsReported(t *testing.T) {
	k := runningKernel(t)
	c, pod := firewalled(t)
	for _, variant := range variantsOf(t, probe.Netfilter, probe.HookUntranslated) {
		t.Run(variant, func(t *testing.T) {
			tr := watch(t, k, probe.Netfilter, probe.HookUntranslated, variant)
			for _, s := range ipStacks() {
				say(t, pod.NS, s.server, servicePort)
				say(t, pod.NS, s.server, untouchedPort)
			}
			events, _ := gather(t, tr, c.Node, event.NetfilterUntranslated, len(ipStacks()), untouchedPort)
			got := decisions(events, c.Node, event.NetfilterUntranslated, untouchedPort)
			if len(got) != len(ipStacks()) {
				t.Fatalf("%d flows without a rule, want %d", len(got), len(ipStacks()))
			}
			for i, s := range ipStacks() {
				if to := got[i].Packet.Dst.String(); to != s.server {
					t.Errorf("flow %v, want one to %s", got[i].Packet, s.server)
				}
			}
			if got := decisions(events, c.Node, event.NetfilterUntranslated, servicePort); len(got) > 0 {
				t.Errorf("a translated flow is reported: %v", got[0].Packet)
			}
		})
	}
}

func TestEveryRejectIsReported(t *testing.T) {
	k := runningKernel(t)
	c, pod := firewalled(t)
	for i, s := range ipStacks() {
		hook := map[string]string{"ipv4": probe.HookRejectIPv4, "ipv6": probe.HookRejectIPv6}[s.name]
		for j, variant := range variantsOf(t, probe.Netfilter, hook) {
			if testing.Short() && (i+j)%2 == 1 { // where a kernel is emulated
				continue
			}
			t.Run(s.name+" "+variant, func(t *testing.T) {
				tr := watch(t, k, probe.Netfilter, hook, variant)
				knock(pod.NS, s.server, rejectedPort)
				knock(pod.NS, s.server, resetPort)
				events, _ := drain(t, tr)
				for port, answer := range map[int]string{rejectedPort: "port-unreachable", resetPort: "tcp-reset"} {
					got := decisions(events, c.Node, event.NetfilterRejected, port)
					if len(got) == 0 {
						t.Errorf("no reject with %s", answer)
						continue
					}
					n := got[0].Body.(event.Netfilter)
					if n.Answer != answer || n.Hook != "forward" || n.Family != s.name || !got[0].Packet.HasFlag('S') {
						t.Errorf("%+v of %v, want %s in forward of a SYN", n, got[0].Packet, answer)
					}
				}
			})
		}
	}
}

// segment sends a bare TCP segment from a port of a namespace. The node does not look at its checksum.
func segment(t *testing.T, from *lab.NS, to string, sport, dport uint16, seq uint32, flags byte) {
	t.Helper()
	h := packettest.Build(packettest.Segment(sport, dport, flags, seq, 0))
	from.Do(func() {
		c, err := net.Dial("ip4:tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(h); err != nil {
			t.Fatal(err)
		}
	})
}

// listening has the server listen where no rule is for, and never accept.
func listening(t *testing.T, c *lab.Cluster) (addr string) {
	t.Helper()
	addr = net.JoinHostPort(lab.ServerAddr, strconv.Itoa(untouchedPort))
	c.Server.Do(func() {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	})
	return addr
}

// connected is a connection from a pod to there.
func connected(t *testing.T, c *lab.Cluster, pod *lab.Pod) (conn net.Conn) {
	t.Helper()
	to := listening(t, c)
	pod.Do(func() {
		var err error
		if conn, err = net.Dial("tcp4", to); err != nil {
			t.Fatal(err)
		}
	})
	return conn
}

func TestEveryInvalidPacketHasItsText(t *testing.T) {
	k := runningKernel(t)
	c, pod := firewalled(t)
	c.Node.Sysctl("net/netfilter/nf_conntrack_checksum", "0")
	for _, variant := range variantsOf(t, probe.Netfilter, probe.HookInvalid) {
		t.Run(variant, func(t *testing.T) {
			invalidPackets(t, c, pod, watch(t, k, probe.Netfilter, probe.HookInvalid, variant))
		})
	}
}

func invalidPackets(t *testing.T, c *lab.Cluster, pod *lab.Pod, tr *Tracer) {
	t.Helper()
	const syn, fin, ack = 2, 1, 16
	conn := connected(t, c, pod)
	defer conn.Close()
	// Far outside of the connection's window, whatever its numbers are: one of the two is.
	own := uint16(conn.LocalAddr().(*net.TCPAddr).Port)
	segment(t, pod.NS, lab.ServerAddr, own, untouchedPort, 1<<30, ack)
	segment(t, pod.NS, lab.ServerAddr, own, untouchedPort, 3<<30, ack)
	segment(t, pod.NS, lab.ServerAddr, 4000, untouchedPort, 1, syn|fin)
	events, _ := gather(t, tr, c.Node, event.NetfilterInvalid, 3, untouchedPort)
	texts := map[string]bool{}
	for _, e := range decisions(events, c.Node, event.NetfilterInvalid, untouchedPort) {
		texts[e.Body.(event.Netfilter).Text] = true
	}
	t.Log(texts)
	for _, want := range []string{"invalid tcp flag combination", "SEQ"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(texts)), func(s string) bool { return strings.Contains(s, want) && !strings.Contains(s, "%") }) {
			t.Errorf("no text with %q among %v", want, texts)
		}
	}
}

func TestVerdictOfConntrackNamesTheFlowThatWasFirst(t *testing.T) {
	k := runningKernel(t)
	const queue = 7
	for _, variant := range variantsOf(t, probe.Netfilter, probe.HookRefused) {
		t.Run(variant, func(t *testing.T) {
			c, pod := firewalled(t)
			c.Node.Sysctl("net/netfilter/nf_conntrack_checksum", "0") // the server throws them away for theirs
			c.Node.Run("iptables-legacy", "-t", "mangle", "-A", "FORWARD", "-p", "tcp", "--dport", strconv.Itoa(untouchedPort),
				"-j", "NFQUEUE", "--queue-num", strconv.Itoa(queue))
			held := c.Node.Queue(queue)
			tr := watch(t, k, probe.Netfilter, probe.HookRefused, variant)
			const sport = 4000
			for range 2 {
				segment(t, pod.NS, lab.ServerAddr, sport, untouchedPort, 1, 2)
			}
			held.Await(2)
			held.Release()
			events, _ := drain(t, tr)
			got := decisions(events, c.Node, event.NetfilterRefused, untouchedPort)
			if want := c.Node.InsertFailed(); len(got) != want {
				t.Fatalf("%d flows refused, conntrack counted %d", len(got), want)
			}
			if len(got) == 0 {
				t.Skip("this kernel lets packets of a queue share an entry")
			}
			n := got[0].Body.(event.Netfilter)
			if n.Lost == nil || n.Lost.Original != got[0].Packet.Flow() || got[0].Packet.Sport != sport {
				t.Errorf("%v lost to %v, want its twin", got[0].Packet, n.Lost)
			}
		})
	}
}

func TestEveryFlowWithoutRoomIsReported(t *testing.T) {
	k := runningKernel(t)
	c, pod := firewalled(t)
	if !k.stock() {
		t.Skip("the limit is of the whole machine, which is not the test's")
	}
	tr := watch(t, k, probe.Netfilter, probe.HookConntrackFull, "fentry")
	const limit = "/proc/sys/net/netfilter/nf_conntrack_max"
	before, err := os.ReadFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	conn := connected(t, c, pod) // an assured entry, which makes no room for others
	defer conn.Close()
	if err := os.WriteFile(limit, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(limit, before, 0o644); err != nil {
			t.Error(err)
		}
	}()
	say(t, pod.NS, lab.ServerAddr, untouchedPort)
	events, _ := gather(t, tr, c.Node, event.NetfilterFull, 1, untouchedPort)
	if got := decisions(events, c.Node, event.NetfilterFull, untouchedPort); len(got) != 1 || got[0].Packet.Src.String() != pod.Addr {
		t.Errorf("%d flows without room, want the pod's: %+v", len(got), got)
	}
}

func TestEverySYNForAFullAcceptQueueIsReported(t *testing.T) {
	k := runningKernel(t)
	c := lab.NewCluster(t)
	pod := c.AddPod("pod")
	for _, variant := range variantsOf(t, probe.Sock, probe.HookAcceptQueueFull) {
		t.Run(variant, func(t *testing.T) {
			var fd, port int
			c.Server.Do(func() { fd, port = deaf(t) })
			defer unix.Close(fd)
			tr := watch(t, k, probe.Sock, probe.HookAcceptQueueFull, variant)
			for range 4 { // a queue of one holds two
				knock(pod.NS, lab.ServerAddr, port)
			}
			events, _ := drain(t, tr)
			var lost []event.Event
			for _, e := range events {
				if s, ok := e.Body.(event.Sock); ok && s.Op == event.SockSynLost && e.Netns == c.Server.Inode() {
					lost = append(lost, e)
				}
			}
			if len(lost) == 0 {
				t.Fatal("no SYN was lost")
			}
			s := lost[0].Body.(event.Sock)
			if s.Backlog <= s.Limit || s.Limit != 1 || int(s.Local.Port()) != port || lost[0].Packet.Src.String() != pod.Addr {
				t.Errorf("%+v of %v", s, lost[0].Packet)
			}
		})
	}
}

// deaf listens with a queue of one and never accepts.
func deaf(t *testing.T) (fd, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := name.(*unix.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to %v", name)
	}
	return fd, at.Port
}

// BenchmarkNetfilter is what it takes to attach all hooks of the object, and to detach them.
func BenchmarkNetfilter(b *testing.B) {
	firewalled(b)
	for _, variant := range []string{"fentry", "kprobe", "kprobe.multi"} {
		b.Run(variant, func(b *testing.B) {
			var detaching time.Duration
			for b.Loop() {
				tr, err := Open(Options{Probes: []string{probe.Netfilter}, Variant: variant})
				if err != nil {
					b.Fatal(err)
				}
				began := time.Now()
				if err := tr.Close(); err != nil {
					b.Fatal(err)
				}
				detaching += time.Since(began)
			}
			b.ReportMetric(detaching.Seconds()*1000/float64(b.N), "ms-detaching/op")
		})
	}
}
