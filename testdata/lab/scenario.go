// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/testdata/wording"
)

// Scenario is one fault: the traffic that meets it and the cause that ktrace must name. The same traffic without the
// fault is its healthy twin, about which ktrace must have nothing to say.
type Scenario struct {
	Name    string
	Args    []string                               // verb and flags; the pod's --netns is added
	Setup   func(t testing.TB, c *Cluster, p *Pod) // beyond NewCluster and one pod; nil for nothing
	Fault   func(t testing.TB, c *Cluster, p *Pod)
	Traffic func(t testing.TB, c *Cluster, p *Pod) // bounded; must not mind if nothing answers
	Want    string                                 // id of the finding above info
	Also    []string                               // those of the others, where there are several faults
	Sure    string                                 // its confidence; "" for any
	Proof   string                                 // what a line of its evidence must contain
	Title   string                                 // what its title must contain
	Grave   bool                                   // it must be critical
	Remedy  string                                 // a command of its remedy, as it must be printed
	Named   bool                                   // the pod has a name, default/pod, as a kubelet leaves it
}

// found is what the scenarios check of a finding.
type found struct {
	ID, Severity, Confidence, Title, Over string
	Evidence                              []string
	Remedy                                []event.Remedy
}

// Run runs the fault and its twin, each in a network of its own. The test's package must use Main.
func (s Scenario) Run(t *testing.T) {
	t.Run(s.Name, func(t *testing.T) {
		t.Parallel()
		t.Run("broken", func(t *testing.T) {
			t.Parallel()
			s.broken(t)
		})
		t.Run("healthy", func(t *testing.T) {
			t.Parallel()
			s.healthy(t)
		})
	})
}

func (s Scenario) broken(t *testing.T) {
	run, file, place := s.start(t, true)
	s.await(run)
	lines := run.Stop()
	s.sameOf(t, file, place, lines)
	s.onlyWanted(t, lines)
	if t.Failed() {
		t.Logf("all of it:\n%s", run.transcript())
	}
}

// await waits until every fault is found.
func (s Scenario) await(run *Run) {
	run.t.Helper()
	for _, id := range append([]string{s.Want}, s.Also...) {
		run.AwaitFinding(id)
	}
}

// onlyWanted checks that ktrace claims what is wanted, as it is wanted, and nothing else.
func (s Scenario) onlyWanted(t *testing.T, lines []Line) {
	t.Helper()
	if _, ok := diagnose.RowOf(s.Want); !ok {
		t.Errorf("the catalogue lacks %s", s.Want)
	}
	for _, l := range Findings(lines) {
		var f found
		if l.Into(t, &f); f.Over != "" && slices.Contains(append(s.Also, s.Want), f.ID) {
			t.Errorf("%s is said to be over: %s", f.ID, l.Raw)
		}
	}
	for _, f := range aboveInfo(t, lines) {
		if slices.Contains(s.Also, f.ID) {
			continue
		}
		if f.ID != s.Want {
			t.Errorf("also claims %s: %s\n%q", f.ID, f.Title, f.Evidence)
			continue
		}
		if s.Sure != "" && f.Confidence != s.Sure {
			t.Errorf("%s is %s, want %s: %s\n%q", f.ID, f.Confidence, s.Sure, f.Title, f.Evidence)
		}
		if !strings.Contains(strings.Join(f.Evidence, "\n"), s.Proof) {
			t.Errorf("%s has no %q among its evidence: %q", f.ID, s.Proof, f.Evidence)
		}
		if s.Grave && f.Severity != string(event.Critical) {
			t.Errorf("%s is %s, want it to be critical", f.ID, f.Severity)
		}
		if !strings.Contains(f.Title, s.Title) || s.Remedy != "" && !slices.ContainsFunc(f.Remedy, func(r event.Remedy) bool { return r.String() == s.Remedy }) {
			t.Errorf("%s has the title %q, want %q in it, and the remedy %q, want %q", f.ID, f.Title, s.Title, f.Remedy, s.Remedy)
		}
		if f.Title == "" || len(f.Evidence) == 0 || len(f.Remedy) == 0 {
			t.Errorf("%s lacks title, evidence or remedy: %+v", f.ID, f)
		}
		problems := []error{wording.Title(f.Title), wording.Remedies(f.Remedy)}
		for _, text := range f.Evidence {
			problems = append(problems, wording.Text(text))
		}
		if err := errors.Join(problems...); err != nil {
			t.Errorf("%s: %q: %v", f.ID, f.Title, err)
		}
	}
}

// Both is two faults at a time. Neither may hide the other.
func Both(a, b Scenario) Scenario {
	both := a
	both.Name, both.Also, both.Named = a.Name+", and "+b.Name, append(slices.Clone(a.Also), b.Want), true
	steps := func(all ...func(testing.TB, *Cluster, *Pod)) func(testing.TB, *Cluster, *Pod) {
		return func(t testing.TB, c *Cluster, p *Pod) {
			for _, step := range all {
				if step != nil {
					step(t, c, p)
				}
			}
		}
	}
	both.Setup, both.Fault, both.Traffic = steps(a.Setup, b.Setup), steps(a.Fault, b.Fault), steps(a.Traffic, b.Traffic)
	return both
}

// Record runs the fault and keeps all raw records of it in a file.
func (s Scenario) Record(t *testing.T, file string) {
	t.Helper()
	run, _ := s.attach(t, true, "--record", file)
	s.await(run)
	run.Stop()
}

func (s Scenario) healthy(t *testing.T) {
	run, file, place := s.start(t, false)
	lines := run.Stop()
	s.sameOf(t, file, place, lines)
	silent(t, lines)
}

// silent checks that ktrace claims nothing.
func silent(t *testing.T, lines []Line) {
	t.Helper()
	for _, f := range aboveInfo(t, lines) {
		t.Errorf("claims %s on a healthy node: %s\n%q", f.ID, f.Title, f.Evidence)
	}
}

// sameOf checks that ktrace says of the capture that it wrote what it said live.
func (s Scenario) sameOf(t *testing.T, file, place string, live []Line) {
	t.Helper()
	SameRead(t, file, live, append(offline(s.Args), "--netns", place)...)
}

// SameRead reads a capture as the arguments say, and checks that it has the findings of the live run that wrote it; it
// returns the lines. How a capture is read depends on no kernel: under one of many, KTRACE_TEST_LIVE has it left out.
func SameRead(t testing.TB, file string, live []Line, args ...string) []Line {
	t.Helper()
	if os.Getenv("KTRACE_TEST_LIVE") != "" {
		return nil
	}
	again, status, said := Read(t, append([]string{file}, args...)...)
	if status != 0 && status != 3 {
		t.Fatalf("reading the capture: status %d\n%s", status, said)
	}
	got, want := Findings(again), Findings(live)
	if len(got) != len(want) {
		t.Errorf("%d findings in the capture, %d live\n%s", len(got), len(want), transcript(again))
		return again
	}
	for i := range want {
		if undated(t, got[i]) != undated(t, want[i]) {
			t.Errorf("the capture says\n%s\nlive it was\n%s", got[i].Raw, want[i].Raw)
		}
	}
	return again
}

// offline are the arguments without those that say how to watch a node and not how to look.
func offline(args []string) []string {
	values := map[string]int{"--duration": 1, "--service-cidr": 1, "--ask-certificates": 0} // each of these has
	var kept []string
	for i := 0; i < len(args); i++ {
		if n, live := values[args[i]]; live {
			i += n
			continue
		}
		kept = append(kept, args[i])
	}
	return kept
}

// undated is a finding without the time at which it was concluded: a capture keeps the packets and what was known,
// not the ticks between them, so a rule that waits for more may conclude a moment later.
func undated(t testing.TB, finding Line) string {
	t.Helper()
	var fields map[string]json.RawMessage
	finding.Into(t, &fields)
	delete(fields, "time")
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// start is attach with a ktrace that writes a capture.
func (s Scenario) start(t *testing.T, fault bool) (run *Run, file, place string) {
	file = filepath.Join(t.TempDir(), "run.pcapng")
	run, place = s.attach(t, fault, "-w", file)
	return run, file, place
}

// build makes the network, and breaks it or not.
func (s Scenario) build(t testing.TB, fault bool) (*Cluster, *Pod) {
	c := NewCluster(t)
	p := c.AddPod("pod")
	if s.Setup != nil {
		s.Setup(t, c, p)
	}
	if fault {
		s.Fault(t, c, p)
	}
	return c, p
}

// attach builds the network and sends the traffic past a ktrace with some more arguments.
func (s Scenario) attach(t *testing.T, fault bool, args ...string) (run *Run, place string) {
	c, p := s.build(t, fault)
	if s.Named {
		k := NewKubelet(t)
		k.Pod("default", "pod").Start("app", p.NS, "sleep", "600").Await()
		args = append(args, "--host-root", k.Root)
	}
	run = Ktrace(t, slices.Concat(s.Args, []string{"--netns", p.Path()}, args)...)
	s.Traffic(t, c, p)
	return run, p.Path()
}

// aboveInfo returns the findings that claim something is wrong.
func aboveInfo(t testing.TB, lines []Line) []found {
	t.Helper()
	var all []found
	for _, l := range Findings(lines) {
		var f found
		if err := json.Unmarshal(l.Raw, &f); err != nil {
			t.Fatalf("%s: %v", l.Raw, err)
		}
		if f.Severity != "info" {
			all = append(all, f)
		}
	}
	return all
}
