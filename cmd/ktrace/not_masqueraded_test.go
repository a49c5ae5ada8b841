// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
)

// TestDiagnoseNamesWhatIsNotMasqueraded: the network beyond the node knows the node, and has no route to its pods.
func TestDiagnoseNamesWhatIsNotMasqueraded(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		masquerade := func(c *lab.Cluster, action string, protos ...string) {
			for _, proto := range protos {
				c.Node.Run(f.iptables, "-t", "nat", action, "POSTROUTING", "-o", "way", "-p", proto, "-j", "MASQUERADE")
			}
		}
		setup := func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			own := f.addr(p)
			far := f.farSide(t, c, box{forth: func(b []byte) (bool, []byte) { // what has no way back
				p := packet.ParseIP(b)
				return p == nil || p.Src.String() != own, nil
			}, back: everything})
			c.Node.IP("addr add " + map[string]string{"ip": "10.78.0.1/32", "ip -6": "fd00:78::1/128"}[f.ip] + " dev way nodad")
			masquerade(c, "-A", "tcp", "udp")
			echoTCP(t, far, "80")
			echoUDP(t, far, "9")
			soon(p)
		}
		tcp := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.dialFar(p, "80", unhurried) }
		udp := func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
			f.asksFar(t, p, "9", 500*time.Millisecond, bytesOf(5, 30)...)
		}
		for _, c := range []struct {
			name, sure string
			lost       []string
			traffic    []step
		}{
			{"TCP, and UDP is", "likely", []string{"tcp"}, []step{udp, tcp}},
			{"UDP, and TCP is", "likely", []string{"udp"}, []step{tcp, udp}},
			{"nothing is", "possible", []string{"tcp", "udp"}, []step{tcp}},
		} {
			all = append(all, lab.Scenario{
				Name: f.name + " " + c.name, Args: []string{"diagnose", "--duration", "4s"}, Want: "not-masqueraded", Sure: c.sure, Proof: "not translated behind POSTROUTING",
				Setup: setup, Fault: func(_ testing.TB, cl *lab.Cluster, _ *lab.Pod) { masquerade(cl, "-D", c.lost...) },
				Traffic: func(t testing.TB, cl *lab.Cluster, p *lab.Pod) {
					for _, s := range c.traffic {
						s(t, cl, p)
					}
				},
			})
		}
	}
	lab.RunAll(t, all)
}
