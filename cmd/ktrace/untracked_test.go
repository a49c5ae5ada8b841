// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// TestDiagnoseNamesWhatSplitsAFlow: where a rule keeps one direction from conntrack, or in a zone of its own, the other
// fits no connection.
func TestDiagnoseNamesWhatSplitsAFlow(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		filter := func(c *lab.Cluster, match, verdict string) {
			c.Node.Run(f.iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", match, "-j", verdict)
		}
		noInvalid := func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			echoTCP(t, c.Server, "80")
			filter(c, "RELATED,ESTABLISHED", "ACCEPT")
			filter(c, "INVALID", "DROP")
		}
		tcp := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			fetch(p.NS, net.JoinHostPort(f.server, "80"), 1500*time.Millisecond)
		}
		all = append(all, lab.Scenario{
			Name: f.name + " requests are not tracked", Want: "conntrack-invalid", Proof: "-j CT --notrack", Setup: noInvalid, Traffic: tcp,
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				c.Node.Run(f.iptables, "-t", "raw", "-A", "PREROUTING", "-i", p.Veth, "-p", "tcp", "--dport", "80", "-j", "CT", "--notrack")
			},
		}, lab.Scenario{
			Name: f.name + " requests have a zone", Want: "conntrack-invalid", Proof: "-j CT --zone 7", Setup: noInvalid, Traffic: tcp,
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				c.Node.Run(f.iptables, "-t", "raw", "-A", "PREROUTING", "-i", p.Veth, "-j", "CT", "--zone", "7")
			},
		}, lab.Scenario{
			Name: f.name + " requests have a zone of nftables", Want: "conntrack-invalid", Proof: "ct zone set 9", Setup: noInvalid, Traffic: tcp,
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				c.Node.Run("nft", "add table inet zones; add chain inet zones c { type filter hook prerouting priority raw; }; add rule inet zones c iifname "+p.Veth+" ct zone set 9")
			},
		}, lab.Scenario{
			Name: f.name + " answers are not tracked", Want: "netfilter-drop", Proof: "--sport 9 -j CT --notrack",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				echoUDP(t, c.Node, "9")
				for _, rule := range [][]string{{"-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"}, {"-p", "udp", "-j", "DROP"}} {
					c.Node.Run(append([]string{f.iptables, "-A", "OUTPUT", "-o", p.Veth}, rule...)...)
				}
			},
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				c.Node.Run(f.iptables, "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "9", "-j", "CT", "--notrack")
				c.Node.Run(f.iptables, "-t", "raw", "-A", "OUTPUT", "-p", "udp", "--sport", "9", "-j", "CT", "--notrack")
			},
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				gateway := strings.TrimSuffix(map[string]string{"ip": p.Addr, "ip -6": p.Addr6}[f.ip], "2") + "1"
				p.Do(func() {
					c, err := net.Dial("udp", net.JoinHostPort(gateway, "9"))
					if err != nil {
						return
					}
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(time.Second))
					if _, err := c.Write([]byte("hello")); err == nil {
						_, _ = c.Read(make([]byte, 5))
					}
				})
			},
		})
	}
	for i := range all {
		all[i].Args = []string{"diagnose", "--duration", "4s"}
	}
	lab.RunAll(t, all)
}
