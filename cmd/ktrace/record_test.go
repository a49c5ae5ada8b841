// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

var recordAnew = flag.Bool("record", false, "record anew, in the lab, what the golden outputs are made of (needs root)")

// recorded are the scenarios that make testdata/records/VIEW-FINDING.rec, beside those that the demo makes.
func recorded() []lab.Scenario {
	v4 := stacks()[0]
	pick := func(all []lab.Scenario, name string, setup step, args ...string) lab.Scenario {
		s := all[slices.IndexFunc(all, func(s lab.Scenario) bool { return s.Name == name })]
		if setup != nil {
			s.Setup = setup
		}
		if args != nil {
			s.Args = args
		}
		return s
	}
	return []lab.Scenario{
		pick(firewalls(v4), "iptables-nft FORWARD REJECT", web, "drop"),
		pick(resetScenarios(families()[0]), "a server closes with data unread IPv4", nil),
		pick(serviceFaults(v4), "stale endpoint", nil, "nat", "--service-cidr", "10.96.0.0/12"),
		pick(mtuFaults(v4), "small end of a veth", nil, "mtu"),
		pick(pathFaults(v4), "no forwarding", nil, "diagnose"),
		v4.stalls("flows"),
	}
}

// TestEveryViewHasARecording holds the golden outputs complete; with -record it makes them.
func TestEveryViewHasARecording(t *testing.T) {
	t.Parallel()
	if *recordAnew {
		for _, s := range recorded() {
			t.Run(s.Args[0], func(t *testing.T) { s.Record(t, filepath.Join(records, s.Args[0]+"-"+s.Want+".rec")) })
		}
	}
	for _, v := range recordedViews() {
		if files, _ := filepath.Glob(filepath.Join(records, v.name+"-*.rec")); len(files) == 0 {
			t.Errorf("no recording for %s (make records)", v.name)
		}
	}
}

// TestReadShowsOnlyWhatHappensAtADevice reads a recording whose one drop is at the node's end of the pod's cable.
func TestReadShowsOnlyWhatHappensAtADevice(t *testing.T) {
	t.Parallel()
	file := filepath.Join(records, "drop-netfilter-reject.rec")
	for _, c := range []struct {
		device string
		shown  bool
	}{{"veth1", true}, {"veth*", true}, {"uplink", false}} {
		if got := strings.Contains(readAgain(t, file, "text", "--interface", c.device), "netfilter-reject"); got != c.shown {
			t.Errorf("at %s: found %v, want %v", c.device, got, c.shown)
		}
	}
}
