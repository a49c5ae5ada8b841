// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
)

// silencer is a firewall beyond the node that takes packets without a word, once it is set to.
type silencer struct {
	f     stack
	forth func(*packet.Packet) bool // what it takes on the way to the far side, and back
	back  func(*packet.Packet) bool
	does  each[*atomic.Bool]
}

func (m *silencer) setup(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	does := &atomic.Bool{}
	m.does.put(c, does)
	passes := func(takes func(*packet.Packet) bool) func([]byte) (bool, []byte) {
		return func(b []byte) (bool, []byte) {
			p := packet.ParseIP(b)
			return p == nil || takes == nil || !does.Load() || !takes(p), nil
		}
	}
	far := m.f.farSide(t, c, box{passes(m.forth), passes(m.back)})
	echoTCP(t, far, "80")
	echoTCP(t, far, "81")
	echoUDP(t, far, "9")
	soon(p)
}

func (m *silencer) start(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { m.does.get(c).Store(true) }

// soon has the kernel give a connection up after three seconds. Since 6.5 it sends some SYNs at even times before the others
// (commit ccce324dabfe, "tcp: make the first N SYN RTO backoffs linear").
func soon(p *lab.Pod) {
	p.Sysctl("net/ipv4/tcp_syn_retries", "1")
	const linear = "net/ipv4/tcp_syn_linear_timeouts"
	if _, err := os.Stat("/proc/sys/" + linear); err == nil {
		p.Sysctl(linear, "0")
	}
}

// toPort takes the packets to a port of TCP.
func toPort(port uint16) func(*packet.Packet) bool {
	return func(p *packet.Packet) bool { return p.Proto == "tcp" && p.Dport == port }
}

// dialFar tries a port of the far side once, as long as the kernel tries.
func (f stack) dialFar(p *lab.Pod, port string, patience time.Duration) {
	p.Do(func() {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(f.far(), port), patience)
		if err == nil {
			c.Close()
		}
	})
}

// TestDiagnoseNamesConnectsWithoutAnAnswer: nothing bad happens on this node, and the connection fails.
func TestDiagnoseNamesConnectsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		lone := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.dialFar(p, "80", unhurried) }
		both := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			f.dialFar(p, "81", unhurried)
			f.dialFar(p, "80", unhurried)
		}
		impatient := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.dialFar(p, "80", 2500*time.Millisecond) }
		for _, c := range []struct {
			name, proof, title string
			sure               string
			grave              bool
			m                  *silencer
			traffic            step
		}{
			{"a firewall takes SYNs", "then ETIMEDOUT", "does not answer connections", "certain", true, &silencer{forth: toPort(80)}, lone},
			{"a firewall takes answers", "answer last seen", "do not reach the client", "likely", true,
				&silencer{back: func(p *packet.Packet) bool { return p.Proto == "tcp" && p.Sport == 80 }}, lone},
			{"a firewall takes one port", "connections to other ports", "does not answer connections", "certain", true, &silencer{forth: toPort(80)}, both},
			{"a client that gives up", "then the application gave up", "does not answer connections", "likely", false, &silencer{forth: toPort(80)}, impatient},
		} {
			c.m.f = f
			all = append(all, lab.Scenario{
				Name: f.name + " " + c.name, Args: []string{"diagnose", "--duration", "4s"}, Want: "connect-no-response", Sure: c.sure, Proof: c.proof, Title: c.title, Grave: c.grave,
				Setup: c.m.setup, Fault: c.m.start, Traffic: c.traffic,
			})
		}
	}
	lab.RunAll(t, all)
}

// TestTheSlowerOfTwoAddressesIsNoFailure: a client that tries both families at once, as browsers and curl do (RFC 8305), gives up the
// one that is not answered.
func TestTheSlowerOfTwoAddressesIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("a")
			m := &silencer{f: f, forth: toPort(80)}
			m.setup(t, c, p)
			m.start(t, c, p)
			other := map[string]string{"ip": lab.ServerAddr6, "ip -6": lab.ServerAddr}[f.ip]
			echoTCP(t, c.Server, "80")
			run := lab.Ktrace(t, "diagnose", "--duration", "4s", "--netns", p.Path())
			const patience = 1500 * time.Millisecond // one SYN is sent again
			slow := make(chan struct{})
			go func() { f.dialFar(p, "80", patience); close(slow) }()
			p.Do(func() {
				time.Sleep(250 * time.Millisecond) // what RFC 8305 recommends before the next address is tried
				c, err := net.DialTimeout("tcp", net.JoinHostPort(other, "80"), unhurried)
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			})
			<-slow
			found := lab.Findings(run.Stop())
			if len(found) != 1 || found[0].ID != "connect-no-response" || !strings.Contains(string(found[0].Raw), `"severity":"info"`) {
				t.Errorf("found %v, want one connect-no-response that is information", found)
			}
		})
	}
}
