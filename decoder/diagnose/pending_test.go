// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
)

// TestWhatWasPutOffIsWaitedFor: a busy node says which rule it was late, and that it will.
func TestWhatWasPutOffIsWaitedFor(t *testing.T) {
	syn := lostSYN()
	syn.Body = event.Drop{Reason: "IP_INNOROUTES", Location: "ip_error"}
	putOff := func(over bool) event.Event {
		return event.Event{Body: event.Fact{Deferred: &event.Deferred{About: event.KeyOf(syn), Over: over}}}
	}
	for _, c := range []struct {
		name  string
		facts []event.Event
		after time.Duration
		found int
	}{
		{"at once", nil, factsWithin / 2, 0},
		{"asked in time", nil, factsWithin, 1},
		{"put off", []event.Event{putOff(false)}, factsDeadline / 2, 0},
		{"put off and answered", []event.Event{putOff(false), putOff(true)}, factsDeadline / 2, 1},
		{"put off and never answered", []event.Event{putOff(false)}, factsDeadline, 1},
	} {
		st := NewState()
		r := NewDrops(st)
		for _, e := range append([]event.Event{syn}, c.facts...) {
			st.Observe(e)
			r.Observe(e)
		}
		if found := r.Flush(syn.Time.Add(c.after), false); len(found) != c.found {
			t.Errorf("%s: %d findings after %v, want %d", c.name, len(found), c.after, c.found)
		}
	}
}

// TestWhatCouldNotBeReadIsNoSignOfAbsence: where the run ends before the node was asked, no finding says that there is no rule.
func TestWhatCouldNotBeReadIsNoSignOfAbsence(t *testing.T) {
	t.Parallel()
	lost := lostSYN()
	about := event.KeyOf(lost)
	lost.Body = event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"}
	noRule := event.Fact{DropRules: &event.DropRules{About: about, Hooks: []string{"postrouting"}}}
	cidr := event.Fact{Service: &event.ServiceFact{Source: "flag", CIDR: netip.PrefixFrom(lost.Packet.Dst, 24).Masked()}}
	for _, c := range []struct {
		name string
		id   string
		find func(*State) (event.Finding, bool)
		read []event.Fact
	}{
		{"which rule dropped it", "netfilter-drop", func(st *State) (event.Finding, bool) { return st.Proves(lost, lost.Body.(event.Drop)) }, []event.Fact{noRule}},
		{"whether a rule translates it", "service-dnat-miss", func(st *State) (event.Finding, bool) { return st.dnatMiss(lost, nil, "") }, []event.Fact{cidr}},
	} {
		for _, unread := range []bool{false, true} {
			facts := append([]event.Fact{{Deferred: &event.Deferred{About: about, Over: !unread}}}, c.read...)
			f, _ := c.find(learnt(facts))
			text := strings.Join(append([]string{f.Title, f.Cause}, f.Evidence...), "\n")
			if f.ID != c.id || strings.Contains(text, "could not be read in time") != unread {
				t.Errorf("%s, unread %v: %s says %q", c.name, unread, f.ID, text)
			}
			if claims := strings.Contains(strings.ToLower(text), "no rule"); unread && (claims || f.Confidence != event.Possible) {
				t.Errorf("%s: %s says that there is no rule: %q", c.name, f.Confidence, text)
			}
		}
	}
}
