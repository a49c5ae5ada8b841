// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
)

// says is a router beyond the node that answers with an ICMP error instead of passing packets on, once it is set to.
type says struct {
	f      stack
	v4, v6 icmpError
	does   each[*atomic.Bool]
}

func (s *says) setup(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	does := &atomic.Bool{}
	s.does.put(c, does)
	far := s.f.farSide(t, c, box{back: everything, forth: func(b []byte) (bool, []byte) {
		if !does.Load() {
			return true, nil
		}
		return false, errorAnswer(b, s.v4, s.v6)
	}})
	echoTCP(t, far, "80")
	echoUDP(t, far, "9")
}

func (s *says) start(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { s.does.get(c).Store(true) }

// TestDiagnoseNamesWhatARouterSays: what a machine beyond the node does not pass on makes no drop here.
func TestDiagnoseNamesWhatARouterSays(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		tcp := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			fetch(p.NS, net.JoinHostPort(f.far(), "80"), 2*time.Second)
		}
		udp := func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { f.twice(t, p, "9") }
		echo := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { pingFrom(p.NS, f.far()) }
		for _, c := range []struct {
			name, want, proof string
			v4, v6            icmpError
			traffic           step
		}{
			{"a router that rejects", "netfilter-reject", " ended with E", icmpError{3, 13, 0}, icmpError{1, 1, 0}, tcp},
			{"a router without a route", "no-route", "ICMP n", icmpError{3, 0, 0}, icmpError{1, 0, 0}, udp},
			{"a router without a neighbour", "neighbour-failed", "-unreachable from", icmpError{3, 1, 0}, icmpError{1, 3, 0}, echo},
			{"a loop of routers", "ttl-exceeded", "seen here with TTL 6", icmpError{11, 0, 0}, icmpError{3, 0, 0}, tcp},
			{"a router that gives another reason", "icmp-unreachable", "about udp", icmpError{3, 5, 0}, icmpError{1, 2, 0}, udp},
		} {
			s := &says{f: f, v4: c.v4, v6: c.v6}
			all = append(all, lab.Scenario{
				Name: f.name + " " + c.name, Args: []string{"diagnose", "--duration", "4s"}, Want: c.want, Proof: c.proof,
				Setup: s.setup, Fault: s.start, Traffic: c.traffic,
			})
		}
		all = append(all, lab.Scenario{
			Name: f.name + " a router on this machine", Args: []string{"diagnose", "--duration", "4s"}, Want: "no-route", Sure: "certain", Proof: "EACCES",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.behind(t, c, p)
				c.Server.Sysctl(map[string]string{"ip": "net/ipv4/ip_forward", "ip -6": "net/ipv6/conf/all/forwarding"}[f.ip], "1")
			},
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Server, "addr del "+f.far()+f.bits()+" dev lo", "route add prohibit "+f.far()+f.bits())
			},
			Traffic: tcp,
		})
	}
	lab.RunAll(t, all)
}

// twice sends a datagram, and once more as there is no answer.
func (f stack) twice(t testing.TB, p *lab.Pod, port string) {
	p.Do(func() {
		c, err := net.Dial("udp", net.JoinHostPort(f.far(), port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			if _, err := c.Write([]byte("hello")); err != nil {
				continue // the error about the one before
			}
			if _, err := c.Read(make([]byte, 5)); err == nil {
				return
			}
		}
	})
}

// TestDiagnoseCriesForNoTraceroute: the errors are the answers that a look for the routers on the path, or for hosts, waits for.
func TestDiagnoseCriesForNoTraceroute(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			f.farSide(t, c, box{back: everything, forth: func(b []byte) (bool, []byte) {
				const enough = 20
				if ttl := map[byte]byte{4: b[8], 6: b[7]}[b[0]>>4]; ttl < enough {
					return false, errorAnswer(b, icmpError{11, 0, 0}, icmpError{3, 0, 0})
				}
				return true, nil
			}})
			run := lab.Ktrace(t, "diagnose", "--duration", "4s", "--netns", p.Path())
			pingFrom(p.NS, f.far())
			for _, ttl := range []string{"2", "3", "4"} {
				pingFrom(p.NS, f.far(), "-t", ttl)
			}
			lines, _ := run.Wait()
			for _, l := range lab.Findings(lines) {
				var x struct{ Severity string }
				if l.Into(t, &x); x.Severity != "info" {
					t.Errorf("claims %s", l.Raw)
				}
			}
		})
	}
}

// TestAConnectionThatGoesOnIsNoFailure: TCP takes an error about a connection that was answered for a passing one. Where the router
// answers again and again it is none.
func TestAConnectionThatGoesOnIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		for _, goesOn := range []bool{true, false} {
			t.Run(fmt.Sprint(f.name, " ", goesOn), func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				p := c.AddPod("pod")
				said := false
				far := f.farSide(t, c, box{back: everything, forth: func(b []byte) (bool, []byte) {
					if p := packet.ParseIP(b); p == nil || p.Proto != "tcp" || p.HasFlag('S') || p.Payload() == 0 || goesOn && said {
						return true, nil
					}
					said = true
					return goesOn, errorAnswer(b, icmpError{3, 1, 0}, icmpError{1, 3, 0})
				}})
				echoTCP(t, far, "80")
				run := lab.Ktrace(t, "diagnose", "--duration", "4s", "--netns", p.Path())
				fetch(p.NS, net.JoinHostPort(f.far(), "80"), 2*time.Second)
				found := lab.Findings(run.Stop())
				var x struct{ ID, Severity string }
				if len(found) != 1 {
					t.Fatalf("%d findings, want one", len(found))
				}
				want := map[bool]string{true: "info", false: "warning"}[goesOn]
				if found[0].Into(t, &x); x.ID != "neighbour-failed" || x.Severity != want {
					t.Errorf("want %s of neighbour-failed, got %s", want, found[0].Raw)
				}
			})
		}
	}
}
