package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder"
)

// filtered reports a packet filter's verdict. That netfilter took the packet is what the kernel says; which rule it was
// is as sure as the counters make it, and evidence says so.
func filtered(k *Facts, e decoder.Event, d decoder.Drop) (decoder.Finding, bool) {
	if !d.ByNetfilter() {
		return decoder.Finding{}, false
	}
	f := decoder.Finding{
		ID: "netfilter-drop", Confidence: decoder.Certain,
		Subject: target(e),
		Title:   fmt.Sprintf("A firewall rule drops packets to %s.", target(e)),
		Cause:   "netfilter gave the packet the verdict DROP: a rule, or the policy of a chain. The sender is not told, so it waits.",
		Remedy:  []string{"iptables-save -c | grep -e DROP -e REJECT", "nft list ruleset | grep -n -e drop -e reject"},
	}
	if d.Verdict == decoder.VerdictReject && d.Answer != nil {
		f.ID = "netfilter-reject"
		f.Title = fmt.Sprintf("A firewall rule rejects packets to %s with %s.", target(e), d.Answer.Name)
		f.Cause = "netfilter dropped the packet and answered its sender: a REJECT rule."
	}
	if mtu, ok := e.Packet.TooBig(); ok {
		f.Cause = "netfilter dropped the ICMP message that tells a sender that its packets are too big, so it goes on with large ones: small ones pass, transfers hang."
		f.Evidence = append(f.Evidence, tooBigMessage(e.Packet, mtu))
	}
	if d.Rejected && d.Answer != nil {
		f.Evidence = append(f.Evidence, "netfilter itself answered its sender: "+d.Answer.Name)
	}
	b, ok := k.blame(e, d)
	switch {
	case d.Hook != "":
		f.Evidence = append(f.Evidence, fmt.Sprintf("dropped in hook %s, as the hook says itself", d.Hook))
	case ok:
		f.Evidence = append(f.Evidence, fmt.Sprintf("dropped in hook %s", strings.Join(b.Hooks, " or ")))
	}
	if !ok {
		return f, true
	}
	if b.Incomplete != "" {
		f.Evidence = append(f.Evidence, "not every rule could be looked at: "+b.Incomplete)
	}
	if len(b.Suspects) == 0 {
		if b.Incomplete == "" {
			f.Cause = "netfilter dropped it, but no rule of nftables or iptables is for it: conntrack, NAT, or another user of the hooks."
			f.Title = fmt.Sprintf("Netfilter drops packets to %s, though no rule is for them.", target(e))
			f.Confidence = decoder.Possible
		}
		return f, true
	}
	name(&f, b)
	return f, true
}

// tooBigMessage is what an ICMP error says about the size of a packet.
func tooBigMessage(p *decoder.Packet, mtu uint32) string {
	text := fmt.Sprintf("the message: packets may have %d bytes at %v", mtu, p.Src)
	if about := p.About(); about != nil {
		text += fmt.Sprintf("; it is about %s %v of %d bytes", about.Proto, about.Flow(), about.Len)
	}
	return text
}

// name says which rule it was, or may have been.
func name(f *decoder.Finding, b decoder.Blame) {
	first := b.Suspects[0]
	if b.Confidence == decoder.Possible {
		for _, s := range b.Suspects {
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
		f.About.Rule = first.RuleFact.String()
		f.Title = strings.Replace(f.Title, "A firewall rule", fmt.Sprintf("A firewall rule (%s, %s chain %s)", first.System, first.Table, first.Chain), 1)
	}
	f.Remedy = append(see(first.RuleFact), f.Remedy...)
}

// see is how to look at a rule.
func see(r decoder.RuleFact) []string {
	tools := map[string]string{"iptables-legacy": "tables-legacy", "iptables-nft": "tables-nft"}
	tool, ok := tools[r.System]
	if !ok {
		families := map[string]string{"ipv4": "ip", "ipv6": "ip6"}
		family := r.Family
		if f, ok := families[family]; ok {
			family = f
		}
		return []string{fmt.Sprintf("nft -a list chain %s %s %s", family, r.Table, r.Chain)}
	}
	if r.Family == "ipv6" {
		tool = "ip6" + tool
	} else {
		tool = "ip" + tool
	}
	return []string{fmt.Sprintf("%s -t %s -nvL %s --line-numbers", tool, r.Table, r.Chain)}
}
