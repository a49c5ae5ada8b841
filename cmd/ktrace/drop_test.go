// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// stack is one family's addresses and tools.
type stack struct {
	name, iptables, ip string // ip has the flag for the family
	server, uplink     string
	beyond             string // an address that the pod's default route leads to, and nobody has
}

func stacks() []stack { return stacksAt(0) }

// stacksAt are those of a lab.NewClusterAt.
func stacksAt(network int) []stack {
	server, server6 := lab.ServerAt(network)
	uplink, uplink6 := lab.UplinkAt(network)
	return []stack{
		{"IPv4", "iptables", "ip", server, uplink, strings.TrimSuffix(server, "2") + "77"},
		{"IPv6", "ip6tables", "ip -6", server6, uplink6, strings.TrimSuffix(server6, "2") + "77"},
	}
}

// echoTCP accepts TCP connections at a port of a namespace, sends each what it sent, and closes.
func echoTCP(t testing.TB, ns *lab.NS, port string) {
	t.Helper()
	ns.Do(func() {
		l, err := net.Listen("tcp", "[::]:"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					buf := make([]byte, 64<<10)
					for {
						n, err := c.Read(buf)
						if err != nil {
							return
						}
						if _, err := c.Write(buf[:n]); err != nil {
							return
						}
					}
				}()
			}
		}()
	})
}

// fetch connects and exchanges a few bytes; it does not mind if nobody answers.
func fetch(ns *lab.NS, addr string, within time.Duration) {
	ns.Do(func() {
		c, err := net.DialTimeout("tcp", addr, within)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(within))
		if _, err := c.Write([]byte("hello")); err == nil {
			_, _ = c.Read(make([]byte, 5))
		}
	})
}

// patience is how long a client of the lab waits: long enough for a busy machine to answer, short where nobody does.
const patience = 400 * time.Millisecond

type step = func(testing.TB, *lab.Cluster, *lab.Pod)

// web is a server on the server's host, and on the node.
func web(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	echoTCP(t, c.Server, "80")
	echoTCP(t, c.Node, "80")
}

// onNode runs a command on the node; %s are the arguments.
func onNode(args ...string) step {
	return func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { c.Node.Run(args...) }
}

func inPod(args ...string) step {
	return func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { p.Run(args...) }
}

// nft adds a table with one chain and one rule.
func nftRule(hook, rule string) []string {
	return []string{"nft", "add table inet lab; add chain inet lab c { type filter hook " + hook + " priority 0; }; add rule inet lab c " + rule}
}

// firewalls are the faults that rules make: who has them, where, and what they answer.
func firewalls(f stack) []lab.Scenario {
	reject := map[string][2]string{ // by family: iptables' word for port, host and admin unreachable
		"iptables":  {"icmp-host-unreachable", "icmp-admin-prohibited"},
		"ip6tables": {"icmp6-addr-unreachable", "icmp6-adm-prohibited"},
	}[f.iptables]
	var all []lab.Scenario
	toServer := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
		fetch(p.NS, net.JoinHostPort(f.server, "80"), patience)
	}
	toNode := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
		fetch(p.NS, net.JoinHostPort(f.uplink, "80"), patience)
	}
	for _, tool := range []string{"legacy", "nft"} {
		cmd := f.iptables + "-" + tool
		rule := func(chain string, target ...string) []string {
			return append([]string{cmd, "-A", chain, "-p", "tcp", "--dport", "80", "-j"}, target...)
		}
		all = append(all,
			lab.Scenario{Name: cmd + " FORWARD DROP", Want: "netfilter-drop", Sure: "certain", Proof: "--dport 80 -j", Fault: onNode(rule("FORWARD", "DROP")...), Traffic: toServer},
			lab.Scenario{Name: cmd + " INPUT DROP", Want: "netfilter-drop", Sure: "certain", Proof: "--dport 80 -j", Fault: onNode(rule("INPUT", "DROP")...), Traffic: toNode},
			lab.Scenario{Name: cmd + " OUTPUT DROP", Want: "netfilter-drop", Sure: "certain", Proof: "--dport 80 -j", Fault: inPod(rule("OUTPUT", "DROP")...), Traffic: toServer},
			lab.Scenario{Name: cmd + " FORWARD policy", Want: "netfilter-drop", Sure: "certain", Proof: "-P FORWARD DROP", Fault: onNode(cmd, "-P", "FORWARD", "DROP"), Traffic: toServer},
			lab.Scenario{Name: cmd + " FORWARD REJECT", Want: "netfilter-reject", Sure: "certain", Proof: "--dport 80 -j", Fault: onNode(rule("FORWARD", "REJECT")...), Traffic: toServer},
			lab.Scenario{Name: cmd + " INPUT REJECT host", Want: "netfilter-reject", Sure: "certain", Proof: "--dport 80 -j", Fault: onNode(rule("INPUT", "REJECT", "--reject-with", reject[0])...), Traffic: toNode},
			lab.Scenario{Name: cmd + " OUTPUT REJECT admin", Want: "netfilter-reject", Sure: "certain", Proof: "--dport 80 -j", Fault: inPod(rule("OUTPUT", "REJECT", "--reject-with", reject[1])...), Traffic: toServer},
			lab.Scenario{Name: cmd + " FORWARD REJECT reset", Want: "netfilter-reject", Sure: "certain", Proof: "--dport 80 -j", Fault: onNode(rule("FORWARD", "REJECT", "--reject-with", "tcp-reset")...), Traffic: toServer},
		)
	}
	return append(all,
		lab.Scenario{Name: "nft forward drop", Want: "netfilter-drop", Sure: "certain", Proof: "c: tcp dport 80", Fault: onNode(nftRule("forward", "tcp dport 80 counter drop")...), Traffic: toServer},
		lab.Scenario{Name: "nft input drop", Want: "netfilter-drop", Sure: "certain", Proof: "c: tcp dport 80", Fault: onNode(nftRule("input", "tcp dport 80 counter drop")...), Traffic: toNode},
		lab.Scenario{Name: "nft output drop", Want: "netfilter-drop", Sure: "certain", Proof: "c: tcp dport 80", Fault: inPod(nftRule("output", "tcp dport 80 drop")...), Traffic: toServer},
		lab.Scenario{Name: "nft answers drop", Want: "netfilter-drop", Sure: "certain", Proof: "c: tcp sport 80", Fault: onNode(nftRule("forward", "tcp sport 80 drop")...), Traffic: toServer},
		lab.Scenario{Name: "nft forward reject", Want: "netfilter-reject", Sure: "certain", Proof: "c: tcp dport 80", Fault: onNode(nftRule("forward", "tcp dport 80 counter reject")...), Traffic: toServer},
		lab.Scenario{Name: "nft output reject host", Want: "netfilter-reject", Sure: "certain", Proof: "c: tcp dport 80", Fault: inPod(nftRule("output", "tcp dport 80 reject with icmpx host-unreachable")...), Traffic: toServer},
		lab.Scenario{Name: "nft forward reject admin", Want: "netfilter-reject", Sure: "certain", Proof: "c: tcp dport 80", Fault: onNode(nftRule("forward", "tcp dport 80 reject with icmpx admin-prohibited")...), Traffic: toServer},
		lab.Scenario{Name: "nft input reject reset", Want: "netfilter-reject", Sure: "certain", Proof: "c: tcp dport 80", Fault: onNode(nftRule("input", "tcp dport 80 reject with tcp reset")...), Traffic: toNode},
	)
}

func TestDropNamesTheFirewallRule(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range firewalls(f) {
			s.Name = fmt.Sprintf("%s %s", f.name, s.Name)
			s.Args, s.Setup = []string{"drop"}, web
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestDropSaysTheHookThatDropped: as netfilter's tracepoint reports it where the kernel has one, else from the rules.
func TestDropSaysTheHookThatDropped(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	web(t, c, p)
	c.Node.Run(nftRule("postrouting", "tcp dport 80 drop")...)
	c.Node.Run("nft", "add table ip other; add chain ip other c { type filter hook forward priority 0; }; add rule ip other c tcp dport 80 limit rate over 100/second drop")
	run := lab.Ktrace(t, "drop", "-v", "--netns", p.Path())
	fetch(p.NS, net.JoinHostPort(lab.ServerAddr, "80"), patience)
	run.AwaitFinding("netfilter-drop")
	lines := run.Stop()
	said := !strings.Contains(run.Stderr(), "netfilter hook verdicts: not on this kernel")
	for _, l := range lines {
		if l.Kind != "drop" {
			continue
		}
		var e struct {
			Drop struct {
				Netfilter struct{ Hook, Family string }
				Verdict   string
			}
		}
		l.Into(t, &e)
		if got := e.Drop; got.Verdict != "drop" || said && (got.Netfilter.Hook != "postrouting" || got.Netfilter.Family == "") {
			t.Errorf("verdict %q of hook %q, family %q, want drop of postrouting", got.Verdict, got.Netfilter.Hook, got.Netfilter.Family)
		}
	}
}

// TestADeviceThatIsNotThereIsSaid: a name that is misspelt would show nothing for ever.
func TestADeviceThatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	run := lab.StartKtrace(t, "drop", "-i", "nosuch0", "-i", p.Veth[:4]+"*", "-i", "upl*", "--duration", "1ms", "-o", "json")
	if _, status := run.Wait(); status != 0 || !strings.Contains(run.Stderr(), "named nosuch0 now") || strings.Count(run.Stderr(), "now;") != 1 {
		t.Errorf("status %d, said %q", status, run.Stderr())
	}
}
