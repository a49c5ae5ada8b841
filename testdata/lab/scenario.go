package lab

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Scenario is one fault: the traffic that meets it and the cause that ktrace must name. The same traffic without the
// fault is its healthy twin, about which ktrace must have nothing to say.
type Scenario struct {
	Name    string
	Args    []string                               // verb and flags; the pod's --netns is added
	Setup   func(t testing.TB, c *Cluster, p *Pod) // beyond NewCluster and one pod; nil for nothing
	Fault   func(t testing.TB, c *Cluster, p *Pod)
	Traffic func(t testing.TB, c *Cluster, p *Pod) // bounded; must not mind if nothing answers
	Want    string                                 // id of the one finding above info
	Sure    string                                 // its confidence; "" for any
	Proof   string                                 // what a line of its evidence must contain
}

// found is what the scenarios check of a finding.
type found struct {
	ID, Severity, Confidence, Title string
	Evidence, Remedy                []string
}

// Run runs the fault and its twin, each in a network of its own. The test's package must use Main.
func (s Scenario) Run(t *testing.T) {
	t.Run(s.Name, func(t *testing.T) {
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
	run := s.start(t, true)
	run.AwaitFinding(s.Want)
	for _, f := range aboveInfo(t, run.Stop()) {
		if f.ID != s.Want {
			t.Errorf("also claims %s: %s", f.ID, f.Title)
			continue
		}
		if s.Sure != "" && f.Confidence != s.Sure {
			t.Errorf("%s is %s, want %s", f.ID, f.Confidence, s.Sure)
		}
		if !strings.Contains(strings.Join(f.Evidence, "\n"), s.Proof) {
			t.Errorf("%s has no %q among its evidence: %q", f.ID, s.Proof, f.Evidence)
		}
		if f.Title == "" || len(f.Evidence) == 0 || len(f.Remedy) == 0 {
			t.Errorf("%s lacks title, evidence or remedy: %+v", f.ID, f)
		}
	}
}

func (s Scenario) healthy(t *testing.T) {
	for _, f := range aboveInfo(t, s.start(t, false).Stop()) {
		t.Errorf("claims %s on a healthy node: %s\n%q", f.ID, f.Title, f.Evidence)
	}
}

// start builds the network, breaks it or not, and sends the traffic past a ktrace that is attached.
func (s Scenario) start(t *testing.T, fault bool) *Run {
	c := NewCluster(t)
	p := c.AddPod("pod")
	if s.Setup != nil {
		s.Setup(t, c, p)
	}
	if fault {
		s.Fault(t, c, p)
	}
	run := Ktrace(t, append(slices.Clone(s.Args), "--netns", p.Path())...)
	s.Traffic(t, c, p)
	return run
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
