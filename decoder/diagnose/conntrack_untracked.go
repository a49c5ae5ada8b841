// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// conntrackUntracked reports a drop of what conntrack cannot know, for a rule keeps one direction of the flow from it, or in a zone
// of its own. It must be what the drop rests on: as part of its flow the packet would have passed, or the rule that
// dropped it is for what conntrack calls invalid.
func conntrackUntracked(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	t, ok := st.tracking.Get(event.KeyOf(e))
	b, blamed := st.dropRulesOf(e, d)
	if !ok || !d.ByNetfilter() || !blamed || len(b.Candidates) == 0 {
		return event.Finding{}, false
	}
	drops := b.Candidates[0].RuleFact
	isInvalid := ofInvalid.MatchString(drops.Text) && !(t.Of == event.TrackedPacket && t.Zone == nil)
	if t.Passes == "" && !isInvalid {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "netfilter-drop", Confidence: event.Certain, Subject: t.Rule.String(),
		Title: fmt.Sprintf("The firewall drops packets to %s, for which conntrack has no entry: a rule (%s) %s.", target(e), where(t.Rule), t.Does()),
		Evidence: []string{
			"the rule that does: " + t.Rule.String(),
			fmt.Sprintf("the rule that drops (%s): %v", b.Confidence, &drops),
		},
		Remedy: []event.Remedy{see(*t.Rule).In(st.enter(e.Netns)), see(drops).In(st.enter(e.Netns))},
	}
	f.About.Rule = t.Rule.Rule()
	if isInvalid {
		f.ID = "conntrack-invalid"
	}
	if b.Confidence == event.Possible {
		f.Confidence = event.Likely
	}
	switch {
	case t.Of == event.TrackedQuoted:
		f.Cause = "The packet is an ICMP error about a flow that conntrack does not track, so it calls the error invalid, and the sender of that flow does not get it."
		if f.Severity = event.Warning; isTooBig(e.Packet) {
			f.Severity = event.Critical
		}
	case t.Zone != nil:
		f.Cause = "A conntrack entry is valid in one zone only: in the other zone the reply has none."
	case t.Of == event.TrackedPacket:
		f.Cause = "The rule is for this packet: conntrack does not look up its flow, so a rule that accepts ESTABLISHED does not match it."
	default:
		f.Cause = "The rule is for the packets of the other direction: conntrack did not see them, so the reply has no entry."
	}
	if t.Passes != "" {
		f.Evidence = append(f.Evidence, fmt.Sprintf("as %s no rule would drop it", t.Passes))
	}
	if t.Zone != nil {
		f.Remedy = append(f.Remedy, do("put both directions into one zone: the same rule for the device, or the addresses, of the other direction"))
	} else {
		f.Remedy = append(f.Remedy, do("accept what is exempted before the rule that drops (-m conntrack --ctstate UNTRACKED -j ACCEPT; ct state untracked accept), for both directions; or remove the exemption"))
	}
	return f, true
}

func isTooBig(p *packet.Packet) bool {
	_, is := p.TooBig()
	return is
}

// where is the system, table and chain of a rule.
func where(r *event.RuleFact) string {
	return fmt.Sprintf("%s, %s chain %s", r.System, r.Table, r.Chain)
}
