// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// netfilterVerdict reports a packet filter's verdict. That netfilter took the packet is what the kernel says; which rule it was
// is as sure as the counters make it, and evidence says so. A rule that answers rejects, though the kernel keeps some of
// the answers back: it sends no more than so many ICMP errors a second.
func netfilterVerdict(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if !d.ByNetfilter() {
		return event.Finding{}, false
	}
	b, known := st.dropRulesOf(e, d)
	rule, sure := st.droppingRules.find(e, d, b)
	named := titleOf(b, known, rule)
	f := event.Finding{
		ID: "netfilter-drop", Confidence: event.Certain, Subject: rule.id,
		Title: fmt.Sprintf("A firewall rule%s drops packets to %s.", named, target(e)),
		Cause: "netfilter gave the packet the verdict DROP: a rule, or the policy of a chain. No ICMP error or reset is sent, so the sender waits for its timeout.",
		Remedy: []event.Remedy{
			pipe(run(forFamily(e.Packet.Dst, "iptables-save -c")), run("grep -e DROP -e REJECT")).In(st.enter(e.Netns)),
			pipe(run("nft list ruleset"), run("grep -n -e drop -e reject")).In(st.enter(e.Netns)),
		},
	}
	if sure {
		f.About.Rule = rule.Rule()
	}
	if d.Lost != nil {
		f.Cause = "netfilter dropped the packet: a rule, or the policy of a chain. Whether its sender was answered is not known: " + d.Lost.String() + "."
	}
	if answer := rejection(d, rule, sure); answer != "" {
		f.ID = "netfilter-reject"
		f.Title = fmt.Sprintf("A firewall rule%s rejects packets to %s with %s.", named, target(e), answer)
		f.Cause = "netfilter dropped the packet and answered its sender: a REJECT rule."
	}
	st.whatFor(&f, e, d, rule)
	if d.Rejected && d.Answer != nil {
		f.Evidence = append(f.Evidence, "netfilter itself answered its sender: "+d.Answer.Name)
	}
	switch {
	case d.Hook != "":
		f.Evidence = append(f.Evidence, fmt.Sprintf("dropped in hook %s, as the hook itself reported", d.Hook))
	case known:
		f.Evidence = append(f.Evidence, fmt.Sprintf("dropped in hook %s", strings.Join(b.Hooks, " or ")))
	}
	st.nameRule(&f, e, b, known, rule)
	if why := st.benignDrop(e, d); why != "" {
		f.Severity = event.Info
		f.Evidence = append(f.Evidence, why)
	}
	return f, true
}

// whatFor says what it means that a packet was dropped, where the kind of the packet or of the rule shows it.
func (st *State) whatFor(f *event.Finding, e event.Event, d event.Drop, rule droppingRule) {
	mtu, tooBig := e.Packet.TooBig()
	switch {
	case tooBig:
		f.Cause = "netfilter dropped the ICMP error packet-too-big, so the sender goes on with large packets: small ones pass, transfers hang."
		f.Evidence = append(f.Evidence, tooBigMessage(e.Packet, mtu))
	case isFilteredND(e.Packet, d):
		f.Cause = "netfilter dropped neighbour discovery messages, by which IPv6 hosts find each other's link address (IPv6's ARP), so no IPv6 packet crosses that link."
		f.Remedy = append(f.Remedy, run("ip6tables -I INPUT -p ipv6-icmp -j ACCEPT").In(st.enter(e.Netns)).Noting("or as narrow as RFC 4890 allows; where the rule is in another chain, there"))
	case strings.Contains(rule.Text, "-j TPROXY"):
		f.Cause = "A TPROXY rule gives packets to a proxy on this node, of a service mesh or a network plugin, and drops what no socket takes: the proxy does not listen at the rule's port."
		f.Remedy = append(f.Remedy, run("ss -ltnup").In(st.enter(e.Netns)).Noting("does a process listen at the rule's --on-port?"))
	}
}

// rejection is what the sender of a packet was answered, or would have been; "" if nothing.
func rejection(d event.Drop, rule droppingRule, sure bool) string {
	switch {
	case d.Verdict == event.VerdictReject && d.Answer != nil:
		return d.Answer.Name
	case sure && rule.Verdict == event.VerdictReject && rule.Reject != "":
		return rule.Reject
	case sure && rule.Verdict == event.VerdictReject:
		return "an answer"
	}
	return ""
}

// nameRule says which rule it was, or may have been, and by which of the network policies it is there.
func (st *State) nameRule(f *event.Finding, e event.Event, b event.DropRules, known bool, rule droppingRule) {
	if known && b.Incomplete != "" {
		f.Evidence = append(f.Evidence, "not every rule could be looked at: "+b.Incomplete)
	}
	switch {
	case len(b.Candidates) > 0:
		st.addRule(f, e.Netns, b)
	case st.unread(e) && rule.System == "":
		f.Cause = "netfilter dropped it: a rule, the policy of a chain, conntrack or NAT. Which of them could not be read in time."
		f.Title = fmt.Sprintf("Netfilter drops packets to %s.", target(e))
		f.Confidence = event.Possible
		f.Evidence = append(f.Evidence, notInTime)
		return
	case known && b.Incomplete == "":
		f.Cause = "netfilter dropped it, but no rule of nftables or iptables is for it: conntrack, NAT, or another user of the hooks."
		f.Title = fmt.Sprintf("Netfilter drops packets to %s, though no rule is for them.", target(e))
		f.Confidence = event.Possible
		return
	case rule.System != "": // of others like it
		st.addRule(f, e.Netns, event.DropRules{Candidates: []event.Candidate{{RuleFact: rule.RuleFact}}, Confidence: event.Likely})
	default:
		return
	}
	if b.Confidence != event.Possible || len(b.Candidates) == 1 {
		ofPolicy(f, e, rule.RuleFact)
	}
}

// titleOf is how a title names the rule, "" if it is not known well enough.
func titleOf(b event.DropRules, known bool, rule droppingRule) string {
	switch {
	case len(b.Candidates) > 0 && b.Confidence != event.Possible:
		return " (" + where(&b.Candidates[0].RuleFact) + ")"
	case len(b.Candidates) == 0 && rule.System != "" && (!known || b.Incomplete != ""):
		return " (" + where(&rule.RuleFact) + ")"
	}
	return ""
}

// tooBigMessage is what an ICMP error says about the size of a packet.
func tooBigMessage(p *packet.Packet, mtu uint32) string {
	text := fmt.Sprintf("the ICMP error: MTU %d at %v", mtu, p.Src)
	if about := p.Quoted(); about != nil {
		text += fmt.Sprintf("; it is about %s %v of %d bytes", about.Proto, about.Flow(), about.Len)
	}
	return text
}

// addRule says which rule it was, or may have been.
func (st *State) addRule(f *event.Finding, netns uint32, b event.DropRules) {
	first := b.Candidates[0]
	if b.Confidence == event.Possible {
		for _, s := range b.Candidates {
			f.Evidence = append(f.Evidence, fmt.Sprintf("it may have been %v", &s.RuleFact))
		}
		if b.More > 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("or one of %d more rules", b.More))
		}
	} else {
		rule := fmt.Sprintf("the rule (%s): %v", b.Confidence, &first.RuleFact)
		if first.Counted && b.Compared {
			rule += fmt.Sprintf("; its counter rose by %d while %d packets were dropped", first.Rose, b.Drops)
		}
		f.Evidence = append(f.Evidence, rule)
		f.About.Rule = first.Rule()
	}
	f.Remedy = slices.Insert(f.Remedy, 0, see(first.RuleFact).In(st.enter(netns)))
}

// see is how to look at a rule.
func see(r event.RuleFact) event.Remedy {
	family := cmp.Or(map[string]string{"ipv4": "ip", "ipv6": "ip6"}[r.Family], r.Family)
	switch {
	case r.System == "iptables-legacy" && r.Family == "ipv6":
		return run("ip6tables-legacy -t %v -nvL %v --line-numbers", r.Table, r.Chain)
	case r.System == "iptables-legacy":
		return run("iptables-legacy -t %v -nvL %v --line-numbers", r.Table, r.Chain)
	case r.System == "iptables-nft" && r.Family == "ipv6":
		return run("ip6tables-nft -t %v -nvL %v --line-numbers", r.Table, r.Chain)
	case r.System == "iptables-nft":
		return run("iptables-nft -t %v -nvL %v --line-numbers", r.Table, r.Chain)
	}
	return run("nft -a list chain %v %v %v", family, identifier(r.Table), identifier(r.Chain))
}
