// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"slices"
	"testing"

	"ktrace/testdata/lab"
)

// TestDiagnoseFindsTheOneCause runs one fault of every family past all rules together.
func TestDiagnoseFindsTheOneCause(t *testing.T) {
	t.Parallel()
	f := stacks()[0]
	var all []lab.Scenario
	for _, from := range []struct {
		scenarios []lab.Scenario
		name      string
		setup     step
	}{
		{firewalls(f), "nft forward reject", web},
		{firewalls(f), "iptables-legacy FORWARD DROP", web},
		{serviceFaults(f), "rule missing", nil},
		{serviceFaults(f), "stale endpoint", nil},
		{conntrackFaults(f), "entry lost", nil},
		{pathFaults(f), "no forwarding", nil},
		{mtuFaults(f), "small end of a veth", nil},
		{holes(f), "what the pod sends vanishes", nil},
	} {
		i := slices.IndexFunc(from.scenarios, func(s lab.Scenario) bool { return s.Name == from.name })
		s := from.scenarios[i]
		if from.setup != nil {
			s.Setup = from.setup
		}
		s.Args = []string{"diagnose", "--duration", "6s", "--service-cidr", "10.96.0.0/12"}
		all = append(all, s)
	}
	lab.RunAll(t, all)
}

// TestDiagnoseSeesConnectsThatMakeNoPacket: the pod has no way to the address, so there is only an errno.
func TestDiagnoseSeesConnectsThatMakeNoPacket(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		in := func(command string) step {
			return func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.do(p.NS, command) }
		}
		toFar := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { fetch(p.NS, net.JoinHostPort(f.far(), "80"), patience) }
		for _, s := range []lab.Scenario{
			{Name: "to a host", Want: "no-route", Proof: "ENETUNREACH", Setup: f.behind, Traffic: toFar, Fault: in("route del default")},
			{Name: "to a host, unreachable", Want: "no-route", Proof: "EHOSTUNREACH", Setup: f.behind, Traffic: toFar,
				Fault: in("route add unreachable " + f.far() + f.bits())},
			{Name: "to a host, prohibited", Want: "no-route", Proof: "EACCES", Setup: f.behind, Traffic: toFar,
				Fault: in("route add prohibit " + f.far() + f.bits())},
			{Name: "to a host, blackhole", Want: "no-route", Proof: "EINVAL", Setup: f.behind, Traffic: toFar,
				Fault: in("route add blackhole " + f.far() + f.bits())},
			{Name: "to a service", Want: "service-no-route", Proof: "ENETUNREACH", Setup: f.web, Traffic: f.toService, Fault: in("route del default")},
			{Name: "to a nameserver", Want: "no-route", Proof: "to " + net.JoinHostPort(f.far(), "53"), Fault: in("route del default"),
				Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
					f.behind(t, c, p)
					echoUDP(t, c.Server, "53")
				},
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
					p.Do(func() {
						c, err := net.Dial("udp", net.JoinHostPort(f.far(), "53"))
						if err != nil {
							return
						}
						c.Close()
					})
				}},
		} {
			s.Name = f.name + " " + s.Name
			s.Sure = "certain"
			s.Args = []string{"diagnose", "--duration", "6s", "--service-cidr", map[string]string{"ip": "10.96.0.0/12", "ip -6": "fd00:96::/112"}[f.ip]}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

func TestDiagnoseEndsWithStatus3IfSomethingIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, forward string
		status        int
	}{{"healthy node", "1", 0}, {"node that does not forward", "0", 3}} {
		t.Run(c.name, func(t *testing.T) {
			net := lab.NewCluster(t)
			p := net.AddPod("pod")
			echoTCP(t, net.Server, "80")
			net.Node.Sysctl("net/ipv4/ip_forward", c.forward)
			run := lab.Ktrace(t, "diagnose", "--duration", "3s", "--netns", p.Path())
			fetch(p.NS, lab.ServerAddr+":80", patience)
			if _, status := run.Wait(); status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
		})
	}
}

// TestDiagnoseNamesTheSettingOfTheNode: nothing fails yet, for no backend is on the client's own bridge.
func TestDiagnoseNamesTheSettingOfTheNode(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		for value, want := range map[string]string{"0": "sysctl-wrong", "1": ""} {
			t.Run(f.name+" "+value, func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				p := c.AddPod("pod")
				prefix := map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]
				f.bridge(t, c, p)
				c.Node.IP("addr add " + f.sub(p, "1") + prefix + " dev br0 nodad")
				f.do(p.NS, "route add "+f.service()+f.bits()+" via "+f.sub(p, "1"))
				f.do(c.Server, "route add "+f.sub(p, "2")+f.bits()+" via "+f.uplink)
				f.web(t, c, p)
				c.Node.Sysctl("net/bridge/bridge-nf-call-"+f.iptables, value)
				run := lab.KtraceOn(t, c.Node, "diagnose", "--duration", "4s", "--netns", p.Path())
				for range 3 {
					fetch(p.NS, net.JoinHostPort(f.service(), "80"), patience)
				}
				lines, _ := run.Wait()
				got := ""
				for _, l := range lab.Findings(lines) {
					var f struct{ Severity string }
					if l.Into(t, &f); f.Severity != "info" { // how the client's connections end is none of this
						got += l.ID
					}
				}
				if got != want {
					t.Errorf("found %q, want %q\n%s", got, want, lines)
				}
			})
		}
	}
}
