package main

import (
	"net"
	"slices"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// comesBack is a fault that each cluster's traffic makes and, unless it is to stay, ends again.
type comesBack struct{ stays each[bool] }

func (b *comesBack) setup(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { b.stays.put(c, false) }
func (b *comesBack) stay(_ testing.TB, c *lab.Cluster, _ *lab.Pod)  { b.stays.put(c, true) }

// scenario has a client try often enough while it fails, and again when it may work. Its twin, where it does, is to be
// information.
func (b *comesBack) scenario(f stack, name, want string, setup, fails, works step, try func(p *lab.Pod)) lab.Scenario {
	const failing, working, pause = 5, 14, 250 * time.Millisecond
	return lab.Scenario{
		Name: f.name + " " + name, Want: want, Args: []string{"diagnose", "--duration", "14s"}, Fault: b.stay,
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			b.setup(t, c, p)
			setup(t, c, p)
		},
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			fails(t, c, p)
			again := func(times int) {
				for range times {
					try(p)
					time.Sleep(pause) // of the client, as a resolver or a probe makes it
				}
			}
			again(failing)
			if !b.stays.get(c) {
				works(t, c, p)
			}
			again(working)
		},
	}
}

func nothing(testing.TB, *lab.Cluster, *lab.Pod) {}

// restarts are a DNS server that comes back, a server that takes its time to begin, and a rule that is taken out.
func restarts(i int) []lab.Scenario {
	f, dns := stacks()[i], dnsFamilies()[i]
	rule := func(op string) step {
		return onNode(f.iptables, op, "FORWARD", "-p", "tcp", "--dport", "80", "-j", "DROP")
	}
	slowly := func(t testing.TB, c *lab.Cluster, _ *lab.Pod) { echoTCP(t, c.Server, "80") }
	toServer := func(p *lab.Pod) { fetch(p.NS, net.JoinHostPort(f.server, "80"), patience) }
	return []lab.Scenario{
		new(comesBack).scenario(f, "a DNS server", "dns-server-refused", dns.cluster, dns.retranslate(portNobody), func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
			dns.translate(c.Node, "-D", portNobody)
			dns.translate(c.Node, "-A", portWell)
		}, func(p *lab.Pod) { lookup(p, dns.service, "web.example.org") }),
		new(comesBack).scenario(f, "a server that starts slowly", "connection-refused", nothing, nothing, slowly, toServer),
		new(comesBack).scenario(f, "a rule", "netfilter-drop", slowly, rule("-A"), rule("-D"), toServer),
	}
}

// TestDiagnoseSaysWhatIsOver: what fails and works again is information, what stays is not.
func TestDiagnoseSaysWhatIsOver(t *testing.T) {
	var all []lab.Scenario
	for i := range stacks() {
		all = slices.Concat(all, restarts(i))
	}
	lab.RunAll(t, all)
}

// TestDiagnoseTakesAFaultNowAndThenForNoneThatIsOver: the rule takes one connection of three.
func TestDiagnoseTakesAFaultNowAndThenForNoneThatIsOver(t *testing.T) {
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Want: "netfilter-drop", Args: []string{"diagnose", "--duration", "12s"}, Setup: web,
			Fault: onNode(f.iptables, "-A", "FORWARD", "-p", "tcp", "--dport", "80", "--syn", "-m", "statistic", "--mode", "nth", "--every", "3", "--packet", "0", "-j", "DROP"),
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				for range 20 {
					fetch(p.NS, net.JoinHostPort(f.server, "80"), patience)
					time.Sleep(patience / 4)
				}
			},
		})
	}
	lab.RunAll(t, all)
}

// TestAVerbSaysThatWhatItToldIsOver: the finding is told at once, and its end when the run ends.
func TestAVerbSaysThatWhatItToldIsOver(t *testing.T) {
	for i := range stacks() {
		s := restarts(i)[0]
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			s.Setup(t, c, p)
			run := lab.Ktrace(t, "dns", "--fail-on", "warning", "--duration", "11s", "--netns", p.Path())
			s.Traffic(t, c, p)
			lines, status := run.Wait()
			type told struct{ Severity, Over string }
			var all []told
			for _, l := range lab.Findings(lines) {
				var f told
				if l.Into(t, &f); l.ID == s.Want {
					all = append(all, f)
				}
			}
			if len(all) != 2 || all[0].Severity != "critical" || all[0].Over != "" || all[1].Severity != "info" || all[1].Over == "" || status != 0 {
				t.Errorf("told %+v, status %d", all, status)
			}
		})
	}
}
