// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
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
		Name: f.name + " " + name, Want: want, Args: []string{"diagnose", "--duration", "6s"}, Fault: b.stay,
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
		new(comesBack).scenario(f, "a DNS server", "dns-server-refused", dns.cluster, dns.retranslate(portClosed), func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
			dns.translate(c.Node, "-D", portClosed)
			dns.translate(c.Node, "-A", portWell)
		}, func(p *lab.Pod) { lookup(p, dns.service, "web.example.org") }),
		new(comesBack).scenario(f, "a server that starts slowly", "connection-refused", nothing, nothing, slowly, toServer),
		new(comesBack).scenario(f, "a rule", "netfilter-drop", slowly, rule("-A"), rule("-D"), toServer),
	}
}

// TestDiagnoseSaysWhatIsOver: what fails and works again is information, what stays is not.
func TestDiagnoseSaysWhatIsOver(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for i := range stacks() {
		all = slices.Concat(all, restarts(i))
	}
	lab.RunAll(t, all)
}

// TestDiagnoseTakesAFaultNowAndThenForNoneThatIsOver: the rule takes one connection of three.
func TestDiagnoseTakesAFaultNowAndThenForNoneThatIsOver(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Want: "netfilter-drop", Args: []string{"diagnose", "--duration", "6s"}, Setup: web,
			Fault: onNode(f.iptables, "-A", "FORWARD", "-p", "tcp", "--dport", "80", "--syn", "-m", "statistic", "--mode", "nth", "--every", "3", "--packet", "0", "-j", "DROP"),
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				for range 20 {
					fetch(p.NS, net.JoinHostPort(f.server, "80"), patience)
					time.Sleep(patience / 4) // of the client, between two requests
				}
			},
		})
	}
	lab.RunAll(t, all)
}

// TestAVerbSaysThatWhatItReportedIsOver: the finding is reported at once, and its end when the run ends.
func TestAVerbSaysThatWhatItReportedIsOver(t *testing.T) {
	t.Parallel()
	for i, f := range stacks() {
		for _, c := range []struct {
			verb, severity string
			scenario       lab.Scenario
			before         int // times that it is reported until it is that bad
		}{
			{"dns", "critical", restarts(i)[0], 0},
			{"reset", "warning", new(comesBack).slowStart(f), 1},
		} {
			t.Run(c.scenario.Name, func(t *testing.T) {
				t.Parallel()
				cluster := lab.NewCluster(t)
				p := cluster.AddPod("pod")
				c.scenario.Setup(t, cluster, p)
				run := lab.Ktrace(t, c.verb, "--fail-on", "warning", "--duration", "11s", "--netns", p.Path())
				c.scenario.Traffic(t, cluster, p)
				lines, status := run.Wait()
				type reported struct{ Severity, Over string }
				var all []reported
				for _, l := range lab.Findings(lines) {
					var f reported
					if l.Into(t, &f); l.ID == c.scenario.Want {
						all = append(all, f)
					}
				}
				if len(all) != c.before+2 {
					t.Fatalf("reported %+v", all)
				}
				was, is := all[c.before], all[c.before+1]
				if was.Severity != c.severity || was.Over != "" || is.Severity != "info" || is.Over == "" || status != 0 {
					t.Errorf("reported %+v, status %d\n%s", all, status, lab.Findings(lines))
				}
			})
		}
	}
}

// slowStart is a server whose probes, one a second as a kubelet's, are refused until it listens: they come from a process of
// the node that is of no pod.
func (b *comesBack) slowStart(f stack) lab.Scenario {
	return lab.Scenario{
		Name: f.name + " a server that is probed from its start", Args: []string{"diagnose", "--duration", "6s"}, Setup: b.setup, Fault: b.stay, Named: true,
		Want: "connection-refused", Sure: "certain", Title: " was refused: nothing listens on default/pod (",
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			at := net.JoinHostPort(map[string]string{"ip": p.Addr, "ip -6": p.Addr6}[f.ip], "8080")
			probe := func(times int) {
				for range times {
					fetch(c.Node, at, 10*time.Second) // which refuses, or serves, at once
					time.Sleep(time.Second)           // as probes are apart
				}
			}
			probe(4)
			if !b.stays.get(c) {
				echoTCP(t, p.NS, "8080")
			}
			probe(1)
		},
	}
}

// TestAProbeThatASlowStartRefusesIsInformation: unless it is refused to the end.
func TestAProbeThatASlowStartRefusesIsInformation(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, new(comesBack).slowStart(f))
	}
	lab.RunAll(t, all)
}

// TestAPodThatBeganAMomentBeforeMayRefuse: its first probes may be all that the run sees. One that was there before warns.
func TestAPodThatBeganAMomentBeforeMayRefuse(t *testing.T) {
	t.Parallel()
	k := lab.NewKubelet(t)
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			c := lab.NewCluster(t)
			p := c.AddPod("slow")
			at := net.JoinHostPort(map[string]string{"ip": p.Addr, "ip -6": p.Addr6}[f.ip], "8080")
			p.Run("ping", "-c1", "-W20", f.uplink) // the first packet on a new IPv6 link waits
			for _, want := range [][]string{nil, {"connection-refused"}} {
				file := filepath.Join(t.TempDir(), "run.pcapng")
				run := lab.KtraceOn(t, c.Node, "reset", "--host-root", k.Root, "--netns", p.Path(), "-w", file)
				if want == nil {
					k.Pod("shop", "slow").Start("main", p.NS, "sleep", "1000").Await()
				}
				for range 4 {
					fetch(c.Node, at, patience)
					time.Sleep(patience) // that it goes on makes it more than a restart
				}
				live := run.Stop()
				lab.SameRead(t, file, live, "reset", "--netns", p.Path())
				if got := wrong(t, live); !slices.Equal(got, want) {
					t.Errorf("claims %q, want %q\n%s", got, want, lab.Findings(live))
				}
			}
		})
	}
}
