// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"
	"time"

	"ktrace/decoder/event"
)

// TestRulesOfANamespaceThatWasReplaced are not those of the next with its inode number; those of others stay.
func TestRulesOfANamespaceThatWasReplaced(t *testing.T) {
	e, facts := ruled("10.9.0.2:80", &event.RuleFact{System: "iptables-nft", Family: "ipv4", Table: "filter", Chain: "FORWARD", Hook: "forward", Number: 1,
		Text: "-A FORWARD -p tcp --dport 80 -j DROP", Verdict: "drop"}, event.Certain)
	for name, c := range map[string]struct {
		identity event.NetnsIdentity
		named    bool
	}{
		"the same namespace": {event.NetnsIdentity{Inode: e.Netns, ID: 1}, true},
		"another's number":   {event.NetnsIdentity{Inode: e.Netns + 1, ID: 2, Replaced: true}, true},
		"it was replaced":    {event.NetnsIdentity{Inode: e.Netns, ID: 2, Replaced: true}, false},
	} {
		st := learnt(facts)
		st.Observe(event.Event{Header: event.Header{Time: time.Unix(1001, 0)}, Body: event.Fact{Identity: &c.identity}})
		f, ok := st.Proves(e, e.Body.(event.Drop))
		if !ok || (f.About.Rule.Text != "") != c.named {
			t.Errorf("%s: %t, rule %+v", name, ok, f.About.Rule)
		}
	}
}
