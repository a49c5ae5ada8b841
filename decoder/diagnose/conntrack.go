// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"regexp"

	"ktrace/decoder/event"
)

// ofInvalid are the rules for what conntrack could not make sense of, as the tools print them.
var ofInvalid = regexp.MustCompile(`ct(state|\s+state)\s+("?)(in\{)?\s*(INVALID|invalid)|ct state vmap \{[^}]*\binvalid : drop\b`)

// conntrackInvalid reports a drop by a rule that is for packets which conntrack called invalid.
func conntrackInvalid(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if !d.ByNetfilter() || d.Conntrack != nil { // conntrack gives no entry to what is invalid
		return event.Finding{}, false
	}
	b, ok := st.dropRulesOf(e, d)
	if !ok || len(b.Candidates) == 0 || !ofInvalid.MatchString(b.Candidates[0].Text) {
		return event.Finding{}, false
	}
	rule := b.Candidates[0].RuleFact
	f := event.Finding{
		ID: "conntrack-invalid", Confidence: event.Likely, Subject: ruleID(e.Netns, rule),
		Title: fmt.Sprintf("Packets to %s are in conntrack state INVALID, and a firewall rule drops them.", target(e)),
		Cause: "conntrack did not see the beginning of the connection, or the packet is outside its window: routing is asymmetric, or an entry expired before the connection ended.",
		Evidence: []string{
			fmt.Sprintf("the rule (%s): %v", b.Confidence, &rule),
			"conntrack has no entry for the packet",
		},
		Remedy: []event.Remedy{
			see(rule).In(st.enter(e.Netns)),
			run("sysctl net.netfilter.nf_conntrack_tcp_be_liberal").In(st.enter(e.Netns)).Noting("1 lets out-of-window packets pass"),
			conntrackCounter("invalid").In(st.enter(e.Netns)),
		},
	}
	f.About.Rule = rule.Rule()
	sure := b.Confidence
	if len(b.Candidates) == 1 && b.More == 0 && sure == event.Possible { // it does not count, but what it is for fits
		sure = event.Likely
	}
	if s, ok := st.conntrack.Get(e.Netns); ok && s.Rose.Invalid > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack counted %d invalid packets", s.Rose.Invalid))
		f.Confidence = sure
	}
	if n, ok := st.netfilterEvent(netfilterKeyOf(event.NetfilterInvalid, e), nil); ok && n.Text != "" {
		f.Evidence = append(f.Evidence, "conntrack's own message: "+n.Text)
		f.Confidence = sure
	}
	return f, true
}

// tracker is the subject of what a namespace's connection tracking does itself.
func tracker(netns uint32) string { return fmt.Sprintf("conntrack in netns %d", netns) }

// noRuleFor reports whether netfilter dropped the packet without any rule that can have done it.
func noRuleFor(st *State, e event.Event, d event.Drop) bool {
	if !d.ByNetfilter() || d.Answer != nil {
		return false
	}
	b, ok := st.dropRulesOf(e, d)
	return !ok || len(b.Candidates) == 0
}

// noRuleCounted reports whether netfilter dropped the packet and no rule's counter says that it was that rule.
func noRuleCounted(st *State, e event.Event, d event.Drop) bool {
	b, _ := st.dropRulesOf(e, d)
	return d.ByNetfilter() && d.Answer == nil && (len(b.Candidates) == 0 || b.Confidence == event.Possible)
}

// conntrackFull reports a new flow for which conntrack had no room: the table is over its limit, or was and the drops were
// counted.
func conntrackFull(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	s, ok := st.conntrack.Get(e.Netns)
	counted := noRuleCounted(st, e, d) && d.Conntrack == nil && (s.Count >= s.Max && s.Max > 0 ||
		s.Rose.Drop > 0 && s.Rose.InsertFailed < s.Rose.Drop && s.Count*10 >= s.Max*9)
	_, said := st.netfilterEvent(netfilterKeyOf(event.NetfilterFull, e), nil)
	if !ok || !d.ByNetfilter() || !counted && !said {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "conntrack-full", Confidence: event.Certain, Subject: fmt.Sprintf("netns %d", e.Netns),
		Title: fmt.Sprintf("The connection tracking table is full (%d of %d): new connections are dropped.", s.Count, s.Max),
		Cause: "conntrack has no room for another flow, so it drops the first packet of every new one; existing flows continue.",
		Evidence: []string{
			fmt.Sprintf("%d entries, nf_conntrack_max is %d", s.Count, s.Max),
			fmt.Sprintf("conntrack counted %d drops since its counters were last read", s.Rose.Drop),
		},
		Remedy: []event.Remedy{
			run("sysctl -w net.netfilter.nf_conntrack_max=%v", 2*max(s.Max, s.Count)),
			most(pipe(run("conntrack -L 2>/dev/null"), run("awk %v", "{print $1,$5,$7}"))).In(st.enter(e.Netns)).Noting("who fills it"),
		},
	}
	if said {
		f.Evidence = append(f.Evidence, "conntrack found no room for the packet's flow, and no entry to evict")
	}
	return f, true
}

// conntrackCounter shows one of conntrack's counters, of each CPU.
func conntrackCounter(name line) event.Remedy {
	return pipe(run("conntrack -S"), run("grep -o "+name+"=[0-9]*"))
}

// most counts the lines that a command prints, the most frequent first.
func most(of event.Remedy) event.Remedy {
	return pipe(of, run("sort"), run("uniq -c"), run("sort -rn"), run("head"))
}

// insertions is how many entries conntrack could not take in.
func insertions(n uint64) string {
	if n == 1 {
		return "1 failed insertion"
	}
	return fmt.Sprintf("%d failed insertions", n)
}
