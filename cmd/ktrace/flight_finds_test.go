// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/savefile"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
	"ktrace/testdata/lab"
)

// TestFlightRecorderWatchesWhatDiagnoseDoes compares what the two ask for and conclude with.
func TestFlightRecorderWatchesWhatDiagnoseDoes(t *testing.T) {
	t.Parallel()
	watched := diagnosis{slow: slowLookup, ask: true}
	want, done, err := watched.live(flags.Flags{HostRoot: "/"}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	flight := flightOptions{watched: watched, findings: map[string]bool{"": true}}
	got, done, err := flight.watch(flags.Flags{HostRoot: "/"}, &savefile.Trigger{})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"probes", got.Probes, want.Probes},
		{"optional probes", got.Optional, want.Optional},
		{"unwanted hooks", got.Unwanted, want.Unwanted},
		{"packets", got.Path, want.Path},
		{"variables", got.Globals, want.Globals},
		{"early stages", kinds(got.Early), kinds(want.Early)},
		{"stages", kinds(got.Stages), kinds(want.Stages)},
		{"witnesses", kinds(got.Witnesses), kinds(want.Witnesses)},
		{"rules", kinds(got.Rules), kinds(want.Rules)},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: flight recorder %v, diagnose %v", c.what, c.got, c.want)
		}
	}
	if got.Prepare == nil || got.Begin == nil || got.Poll == nil || got.Keep == nil || got.Pods == nil || got.Hold {
		t.Error("the flight recorder lacks what prepares, polls or names")
	}
}

// kinds are the types of stages, witnesses or rules: of those that are together, or fire, the rules within.
func kinds[T any](all []T) (types []string) {
	for _, x := range all {
		switch x := any(x).(type) {
		case *diagnose.Inhibitor:
			types = append(types, kinds(x.Rules())...)
		case *firing:
			types = append(types, kinds([]stage.Rule{x.Rule})...)
		case *diagnose.Graded:
			types = append(types, kinds([]stage.Rule{x.Rule})...)
		default:
			types = append(types, fmt.Sprintf("%T", x))
		}
	}
	return types
}

// TestFlightRecorderFiresOnWhatDiagnoseFinds has a fault of every kind fire, and reads the cause from the file.
func TestFlightRecorderFiresOnWhatDiagnoseFinds(t *testing.T) {
	t.Parallel()
	f := stacks()[0]
	pick := func(all []lab.Scenario, name string, setup step) lab.Scenario {
		s := all[slices.IndexFunc(all, func(s lab.Scenario) bool { return s.Name == name })]
		if setup != nil {
			s.Setup = setup
		}
		return s
	}
	for _, s := range []lab.Scenario{
		pick(firewalls(f), "nft forward reject", web),
		pick(firewalls(f), "iptables-legacy FORWARD DROP", web),
		pick(serviceFaults(f), "rule missing", nil),
		pick(serviceFaults(f), "stale endpoint", nil),
		pick(pathFaults(f), "no forwarding", nil),
		pick(mtuFaults(f), "small end of a veth", nil),
		refused(families()[0]),
		expired(),
		deadDNS(dnsFamilies()[0]),
		slowDNS(),
	} {
		t.Run(s.Want, func(t *testing.T) {
			t.Parallel()
			fires(t, s, nothingBefore)
		})
	}
	t.Run("after its memory was full", func(t *testing.T) {
		t.Parallel()
		fires(t, pick(serviceFaults(f), "rule missing", nil), func(p *lab.Pod) { // what was known of services is in no packet that is left
			p.Run("ping", "-q", "-f", "-c", "1500", "-s", "1400", lab.ServerAddr)
		})
	})
}

func nothingBefore(*lab.Pod) {}

// expired is a handshake with a server whose certificate has expired.
func expired() lab.Scenario {
	all := handshakes()
	h := all[slices.IndexFunc(all, func(h shaken) bool { return h.want == "tls-certificate-expired" })]
	return h.scenario("TLS", net.JoinHostPort(lab.ServerAddr, "8443"), tls.VersionTLS12, nil)
}

// fires runs a scenario past a flight recorder that waits for its cause, after something else.
func fires(t *testing.T, s lab.Scenario, before func(*lab.Pod)) {
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	if s.Setup != nil {
		s.Setup(t, c, p)
	}
	s.Fault(t, c, p)
	file := filepath.Join(t.TempDir(), "flight.pcapng")
	run := lab.Ktrace(t, "capture", "--netns", p.Path(), "--ring", "1", "--after", "300ms", "--service-cidr", "10.96.0.0/12",
		"--trigger", "finding:"+s.Want, "-w", file)
	before(p)
	s.Traffic(t, c, p)
	live := run.AwaitFinding(s.Want)
	run.Stop()
	if flown(t, run) == 0 {
		t.Error("no packet was written")
	}
	read, _, _ := lab.Read(t, file, "diagnose")
	for _, found := range lab.Findings(read) {
		if found.ID == s.Want && subject(t, found) == subject(t, live) {
			return
		}
	}
	var said strings.Builder
	for _, line := range read {
		said.Write(line.Raw)
	}
	t.Errorf("live it was\n%s\nthe file says\n%s", live.Raw, said.String())
}

func subject(t *testing.T, l lab.Line) string {
	t.Helper()
	var f struct{ Subject string }
	l.Into(t, &f)
	return f.Subject
}

// TestFlightRecorderTakesEveryFindingAsATrigger goes through the catalogue: each fires by its own name whatever its
// severity, and as any if it is above information; again only when it was away for a while.
func TestFlightRecorderTakesEveryFindingAsATrigger(t *testing.T) {
	t.Parallel()
	c := captureOptions{}
	c.Write = "x"
	fires := func(trigger string, found ...event.Finding) (n int) {
		o := flightOptions{megabytes: 1, triggers: []string{trigger}}
		if err := o.validate(&c); err != nil {
			t.Fatal(err)
		}
		r := firing{wanted: o.wanted, fire: func(string) { n++ }, last: map[firingKey]time.Time{}}
		r.look(found)
		return n
	}
	ids := diagnose.IDs()
	for i, id := range ids {
		f := event.Finding{ID: id, Severity: event.Info, Time: time.Unix(100, 0)}
		worse, again, late := f, f, f
		worse.Severity = event.Warning
		again.Time, late.Time = f.Time.Add(firingAgain), f.Time.Add(firingAgain+1)
		own, other := onFinding+":"+id, onFinding+":"+ids[(i+1)%len(ids)]
		for _, tt := range []struct {
			trigger string
			found   []event.Finding
			want    int
		}{
			{own, []event.Finding{f}, 1}, {onFinding, []event.Finding{f}, 0}, {onFinding, []event.Finding{worse}, 1},
			{other, []event.Finding{worse}, 0}, {own, []event.Finding{f, again}, 1}, {own, []event.Finding{f, late}, 2},
		} {
			if n := fires(tt.trigger, tt.found...); n != tt.want {
				t.Errorf("%s: %d findings %s fire %d times, want %d", tt.trigger, len(tt.found), id, n, tt.want)
			}
		}
	}
}
