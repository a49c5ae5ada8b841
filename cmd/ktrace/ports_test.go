// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// TestDiagnoseFindsThatNoPortIsLeft: one flow that fails again and again is no race.
func TestDiagnoseFindsThatNoPortIsLeft(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, proto := range []string{"tcp", "udp"} {
			translate := func(ports string) func(testing.TB, *lab.Cluster, *lab.Pod) {
				return func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
					c.Node.Run(f.iptables, "-t", "nat", "-I", "POSTROUTING", "-o", "uplink", "-p", proto, "-j", "MASQUERADE", "--to-ports", ports)
				}
			}
			all = append(all, lab.Scenario{
				Name: f.name + " " + proto, Args: []string{"diagnose", "--duration", "5s"}, Want: "ports-exhausted", Sure: "certain",
				Proof: "for 3 of the 3",
				Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
					echoTCP(t, c.Server, "80")
					echoUDP(t, c.Server, "80")
					translate("20000-20999")(t, c, p)
				},
				Fault:   translate("20000-20002"),
				Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { f.talkers(t, p, proto, 4) },
			})
		}
	}
	lab.RunAll(t, all)
}

// TestDiagnoseFindsThatAClientHasNoPortLeft: connect() fails before there is any packet.
func TestDiagnoseFindsThatAClientHasNoPortLeft(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"diagnose", "--duration", "4s"}, Want: "ports-exhausted", Sure: "certain", Grave: true, Title: "No local port is left",
			Proof: "net.ipv4.ip_local_port_range is 40000 to 40001",
			Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) { echoTCP(t, c.Server, "80") },
			Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				p.Sysctl("net/ipv4/ip_local_port_range", "40000 40001")
			},
			Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { f.talkers(t, p, "tcp", 4) },
		})
	}
	lab.RunAll(t, all)
}

// talkers are so many sockets of the pod that talk to the server at the same time.
func (f stack) talkers(t testing.TB, p *lab.Pod, proto string, n int) {
	const patient = 1500 * time.Millisecond
	p.Do(func() {
		for range n {
			c, err := net.DialTimeout(proto, net.JoinHostPort(f.server, "80"), patient)
			if err != nil {
				continue // there was no port for it
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patient))
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Log(err)
			}
			if proto == "udp" {
				_, _ = c.Read(make([]byte, 5))
			}
		}
	})
}
