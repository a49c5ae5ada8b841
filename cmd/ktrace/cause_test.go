// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// wrong are the ids of the findings that claim something is wrong, one each.
func wrong(t *testing.T, lines []lab.Line) (ids []string) {
	t.Helper()
	for _, l := range lab.Findings(lines) {
		var f struct{ ID, Severity string }
		if l.Into(t, &f); f.Severity != "info" {
			ids = append(ids, f.ID)
			t.Logf("%s", l.Raw)
		}
	}
	return ids
}

// sends sends a datagram each to many; it does not matter whether they are received.
func sends(ns *lab.NS, addrs []string) {
	ns.Do(func() {
		for _, a := range addrs {
			if c, err := net.Dial("udp", a); err == nil {
				_, _ = c.Write([]byte("x"))
				c.Close()
			}
		}
	})
}

// sendsStray sends a segment each, of no connection, to many.
func sendsStray(ns *lab.NS, addrs []string) {
	ns.Do(func() {
		for _, a := range addrs {
			host, _, _ := net.SplitHostPort(a)
			c, err := net.Dial("ip:tcp", host)
			if err != nil {
				continue
			}
			segment := packettest.Build(packettest.Segment(40000, 9, packettest.ACK, 0, 0)) // without a checksum: the first router calls it invalid
			_, _ = c.Write(segment)
			c.Close()
		}
	})
}

// many are so many addresses, or ports of one.
func (f stack) many(n int) (hosts, ports []string) {
	prefix := map[string]string{"ip": "10.77.1.", "ip -6": "fd00:77:1::"}[f.ip]
	for i := range n {
		hosts = append(hosts, net.JoinHostPort(fmt.Sprint(prefix, i+1), "9"))
		ports = append(ports, net.JoinHostPort(f.server, fmt.Sprint(7000+i)))
	}
	return hosts, ports
}

// TestDiagnoseReportsACauseOnce: however many it hits.
func TestDiagnoseReportsACauseOnce(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		hosts, ports := f.many(40)
		for _, c := range []struct {
			name  string
			cause step
			to    []string
			want  string
			send  func(*lab.NS, []string)
		}{
			{"a policy that drops", onNode(f.iptables, "-P", "FORWARD", "DROP"), hosts, "netfilter-drop", sends},
			{"a rule that rejects, and answers no more than a few", onNode(f.iptables, "-A", "FORWARD", "-p", "udp", "-j", "REJECT"), ports, "netfilter-reject", sends},
			{"a rule for what is invalid", onNode(f.iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"), hosts, "conntrack-invalid", sendsStray},
			{"no default route", func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { f.do(c.Node, "route del default") }, hosts, "no-route", sends},
		} {
			t.Run(f.name+" "+c.name, func(t *testing.T) {
				t.Parallel()
				cluster := lab.NewCluster(t)
				p := cluster.AddPod("pod")
				p.Run("ping", "-c1", "-W20", f.server) // the first packet on a new IPv6 link waits for seconds
				c.cause(t, cluster, p)
				run := lab.Ktrace(t, "diagnose", "--duration", "12s", "--netns", p.Path()) // lookups for 40 addresses are put off, and take a busy machine as long
				c.send(p.NS, c.to)
				lines, _ := run.Wait()
				if got := wrong(t, lines); !slices.Equal(got, []string{c.want}) {
					t.Errorf("found %q, want %s once", got, c.want)
				}
			})
		}
	}
}

// TestDiagnoseClaimsNothingOfWhatIsNoLoss: the Internet tries closed ports, a scan looks for hosts by pings, and a sender
// that gets "packet too big" sends smaller ones.
func TestDiagnoseClaimsNothingOfWhatIsNoLoss(t *testing.T) {
	t.Parallel()
	closed := nftRule("input", "meta l4proto { tcp, udp } th dport { 23, 445 } drop")
	for i, f := range stacks() {
		for _, c := range []struct {
			name    string
			network int // of its own where the node is looked at, not the pod
			do      func(testing.TB, stack, *lab.Cluster, *lab.Pod)
			want    []string
		}{
			{"closed ports", networkOfClosedPorts + 2*i, func(_ testing.TB, f stack, c *lab.Cluster, _ *lab.Pod) {
				c.Node.Run(closed...)
				for _, port := range []string{"23", "445", "23"} {
					fetch(c.Server, net.JoinHostPort(f.uplink, port), patience)
				}
			}, nil},
			{"an open port", networkOfClosedPorts + 2*i + 1, func(t testing.TB, f stack, c *lab.Cluster, _ *lab.Pod) {
				echoTCP(t, c.Node, "445")
				c.Node.Run(closed...)
				fetch(c.Server, net.JoinHostPort(f.uplink, "445"), patience)
			}, []string{"netfilter-drop"}},
			{"a ping sweep", 0, func(_ testing.TB, f stack, c *lab.Cluster, p *lab.Pod) {
				f.quickNeighbours(c)
				for i := range 6 {
					_, _ = p.Try("ping", "-n", "-c1", "-W1", fmt.Sprint(strings.TrimSuffix(f.server, "2"), 80+i))
				}
			}, nil},
			{"path MTU discovery", 0, func(_ testing.TB, f stack, c *lab.Cluster, p *lab.Pod) {
				c.Node.IP("link set uplink mtu 1300")
				for range 2 {
					_, _ = p.Try("ping", "-n", "-c1", "-W1", "-s", "1400", "-M", "do", f.server)
				}
			}, nil},
		} {
			t.Run(f.name+" "+c.name, func(t *testing.T) {
				t.Parallel()
				f := stacksAt(c.network)[i]
				cluster := lab.NewClusterAt(t, c.network)
				p := cluster.AddPod("pod")
				p.Run("ping", "-c1", "-W20", f.server)
				place := p.NS
				if c.network != 0 {
					place = cluster.Node
				}
				run := lab.Ktrace(t, "diagnose", "--duration", "6s", "--netns", place.Path())
				c.do(t, f, cluster, p)
				lines, _ := run.Wait()
				if got := wrong(t, lines); !slices.Equal(got, c.want) {
					t.Errorf("found %q, want %q\n%s", got, c.want, lab.Findings(lines))
				}
			})
		}
	}
}
