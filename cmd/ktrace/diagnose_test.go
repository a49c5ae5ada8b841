package main

import (
	"slices"
	"testing"

	"ktrace/testdata/lab"
)

// TestDiagnoseFindsTheOneCause runs one fault of every family past all rules together.
func TestDiagnoseFindsTheOneCause(t *testing.T) {
	f := stacks()[0]
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
		s.Run(t)
	}
}

// TestDiagnoseSeesConnectsThatMakeNoPacket: the pod has no way to the address, so there is only an errno.
func TestDiagnoseSeesConnectsThatMakeNoPacket(t *testing.T) {
	f := stacks()[0]
	for _, s := range []lab.Scenario{
		{Name: "to a host", Want: "no-route", Sure: "certain", Proof: "ENETUNREACH", Setup: f.behind,
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { fetch(p.NS, f.far()+":80", patience) }},
		{Name: "to a service", Want: "service-no-route", Sure: "certain", Proof: "ENETUNREACH", Setup: f.web, Traffic: f.toService},
	} {
		s.Args = []string{"diagnose", "--duration", "6s", "--service-cidr", "10.96.0.0/12"}
		s.Fault = inPod("ip", "route", "del", "default")
		s.Run(t)
	}
}

func TestDiagnoseEndsWithStatus3IfSomethingIsWrong(t *testing.T) {
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
