// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/event"
)

// dnatMissOfService reports a packet to a service's address that died as it came.
func dnatMissOfService(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if s, known := st.serviceTo(e); !known || guessed(s) {
		return event.Finding{}, false
	}
	return st.droppedUntranslated(e, d)
}

// dnatMissOfNameserver is dnatMissOfService for an address that only a file names for a service's. It comes behind what
// takes packets wherever they go.
func dnatMissOfNameserver(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if d.ByNetfilter() {
		return event.Finding{}, false
	}
	return st.droppedUntranslated(e, d)
}

func (st *State) droppedUntranslated(e event.Event, d event.Drop) (event.Finding, bool) {
	if d.Conntrack.DNAT() || delivered(d) && st.deviceOf(e.Netns, e.Packet.Dst) != ipvsDevice {
		return event.Finding{}, false
	}
	leftover, refused := st.clusterIPRejectRule(e, d)
	if st.natHooksOf(e, d) != natHooksPassed && !refused {
		return event.Finding{}, false
	}
	f, ok := st.dnatMiss(e, d.Conntrack, untranslatedAt(e))
	if ok && refused {
		f.Evidence = append(f.Evidence, "refused by kube-proxy's own rule for what it has not translated: "+leftover.String())
	}
	return f, ok
}

// clusterIPRejectRule is the rule by which kube-proxy, in its nftables mode, refuses a packet to a service's address that none of
// its maps had an entry for.
func (st *State) clusterIPRejectRule(e event.Event, d event.Drop) (event.RuleFact, bool) {
	b, _ := st.dropRulesOf(e, d)
	if !d.ByNetfilter() || len(b.Candidates) == 0 {
		return event.RuleFact{}, false
	}
	rule := b.Candidates[0].RuleFact
	return rule, rule.Table == "kube-proxy" && rule.Chain == "cluster-ips-check"
}

// mayBeAnswered is mayLearn for a packet that left untranslated. A server that only a resolv.conf names may
// be one that is asked by its own address, and be slow.
func (st *State) mayBeAnswered(e event.Event, age time.Duration) bool {
	s, known := st.serviceTo(e)
	return st.awaitsFacts(e, age) || known && guessed(s) && age < factsDeadline && !st.effects.serves(e)
}

// dnatMiss concludes from a packet that is on its way to a service's address, or died on it, and was not translated though
// the rules had their turn; c is its entry, nil if conntrack has none, and seen says where it was so.
func (st *State) dnatMiss(e event.Event, c *event.Conntrack, seen string) (event.Finding, bool) {
	to := e.Packet.Destination()
	if to.Port() == 0 || st.effects.serves(e) {
		return event.Finding{}, false
	}
	if f, ok := st.askedNoServer(e); ok {
		return f, true
	}
	s, known := st.serviceTo(e)
	if !known || s.Source == "env" && st.services.byAPI() {
		if f, ok := st.noSuchService(e, seen); ok || !known {
			return f, ok
		}
	}
	rules, _ := st.rulesFor(e.Netns, e.Packet.Proto, to)
	if r, ok := st.rejectRuleAt(e, rules); ok {
		return st.noEndpointsFinding(e, rules, r), true
	}
	f := event.Finding{
		ID: "service-dnat-miss", Confidence: event.Certain, Subject: fmt.Sprintf("%s %v", e.Packet.Proto, to),
		Title:    fmt.Sprintf("Packets to %s are not DNATed to a backend; no host owns that address.", missed(s, rules, to)),
		Cause:    "No rule of the node matched: kube-proxy has not written the rules, lost them, or the service has no such port.",
		Evidence: []string{seen, source(s)},
		Remedy: []event.Remedy{
			pipe(run(forFamily(to.Addr(), "iptables-save -t nat")), run("grep %v", to.Addr())).In(st.enter(st.effects.natNetns(e))),
			pipe(run("nft list ruleset"), run("grep %v", to.Addr())).In(st.enter(st.effects.natNetns(e))),
			systemPods("kube-proxy"),
		},
	}
	unmatched := st.noNATRule(netfilterKeyOf(event.NetfilterUntranslated, e), c)
	bySender(&f, s)
	if c != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack entry: %v, %v", c.Original, c))
	} else {
		f.Evidence = append(f.Evidence, "conntrack has no entry for it")
	}
	switch {
	case unmatched != "":
		f.Evidence = append(f.Evidence, unmatched)
	case rules.State == "" && st.unread(e):
		f.Confidence = event.Possible
		f.Cause = "Whether a rule of the node is for it could not be read in time: kube-proxy may have lost its rules, or the service has no such port."
		f.Evidence = append(f.Evidence, notInTime)
	}
	ok := st.whyNotTranslated(&f, e, c, s, rules)
	return f, ok
}

// missed names a service address as well as it is known.
func missed(s event.ServiceFact, rules event.ServiceRules, to netip.AddrPort) string {
	switch s.Source {
	case "resolv":
		return fmt.Sprintf("%v, the nameserver of the client's resolv.conf,", to)
	case "env":
		return fmt.Sprintf("%v, a service by the client's environment,", to)
	}
	return called(s, rules, to)
}

// bySender grades a finding about an address that is a service's only by what a file says: no rule is for it, that is certain,
// but none may have to be. A pod's own files may name any address; then the node may be as it should.
func bySender(f *event.Finding, s event.ServiceFact) {
	if !guessed(s) {
		return
	}
	f.Confidence = event.Likely
	if !fromPod(s) {
		return
	}
	f.Severity = event.Warning
	f.Evidence = append(f.Evidence, "nothing but the client's own files says that the address is a service's")
	if s.Source == "env" { // which names what its writer likes
		f.Confidence = event.Possible
	}
}

// untranslatedAt is the evidence of where a packet was as it had been sent.
func untranslatedAt(e event.Event) string { return "untranslated" + event.At(e) }

// whyNotTranslated says why the rules did not translate a packet, by their state for its address. It returns false if by that they
// should have.
func (st *State) whyNotTranslated(f *event.Finding, e event.Event, c *event.Conntrack, s event.ServiceFact, rules event.ServiceRules) bool {
	to := e.Packet.Destination()
	switch rules.State {
	case event.ServiceNone:
		f.ID = "kube-proxy-rules-missing"
		f.Title = fmt.Sprintf("The node has no rules for services at all, so packets to %s are not DNATed; no host owns that address.", missed(s, rules, to))
		f.Cause = "kube-proxy never wrote its rules here, or they were removed."
		f.About.At(st.effects.natNetns(e))
		f.Subject = fmt.Sprintf("netns %d", st.effects.natNetns(e))
	case event.ServiceMissing:
		f.Recorded = !fromPod(s) // neither the API nor the rules would know an address of a host
		f.Evidence = append(f.Evidence, fmt.Sprintf("%d addresses and ports of services have rules, %v has none; searched: %s",
			rules.Services, to, strings.Join(rules.Searched, ", ")))
	case event.ServicePresent:
		return st.whyRuleSkipped(f, e, c, rules)
	}
	return true
}

// whyRuleSkipped says why a packet was not translated though a rule does so for its address: its hook has no way to the rule, a
// rule keeps it from conntrack, or its flow is older than the rule.
func (st *State) whyRuleSkipped(f *event.Finding, e event.Event, c *event.Conntrack, rules event.ServiceRules) bool {
	netns := st.effects.natNetns(e)
	hook := st.hookOf(netns, e.Packet.Src)
	switch {
	case len(rules.Hooks) > 0 && !slices.Contains(rules.Hooks, hook):
		f.Cause = fmt.Sprintf("The rules for it are reached from hook %s only: from hook %s no rule leads to them.", strings.Join(rules.Hooks, ", "), hook)
		f.Evidence = append(f.Evidence, "the rule: "+rules.Rule, "searched from hook "+hook+": "+strings.Join(rules.Searched, ", "))
		f.Remedy = append([]event.Remedy{
			pipe(run(forFamily(e.Packet.Dst, "iptables-save -t nat")), run("grep %v", "^-A "+strings.ToUpper(hook))).In(st.enter(netns)),
			pipe(run("nft list ruleset"), run("grep -A3 %v", "hook "+hook)).In(st.enter(netns)),
		}, f.Remedy[2:]...)
	case c == nil && rules.Untracked != "":
		f.Cause = "A rule exempts the packet from conntrack (NOTRACK), and NAT needs a conntrack entry."
		f.Evidence = append(f.Evidence, "the rule that does: "+rules.Untracked, "the rule for the service: "+rules.Rule)
		f.Remedy = []event.Remedy{
			run(forFamily(e.Packet.Dst, "iptables-save -t raw")).In(st.enter(netns)),
			pipe(run("nft list ruleset"), run("grep -n notrack")).In(st.enter(netns)),
			systemPods("node-local-dns").Noting("whose rules these often are"),
		}
	case c == nil:
		return false // it is older than the rules, or they are not asked about it
	default:
		f.Cause = "The flow is older than the rule: conntrack asks the rules about the first packet of a flow only."
		f.Evidence = append(f.Evidence, "the rule: "+rules.Rule)
		f.Remedy = []event.Remedy{run("conntrack -D -p %v --orig-dst %v", e.Packet.Proto, e.Packet.Dst).In(st.enter(netns)), do("or let the client use another source port")}
	}
	return true
}

// source says how it is known that an address is a service's.
func source(s event.ServiceFact) string {
	switch {
	case s.Source == "resolv":
		return fmt.Sprintf("%v is the nameserver of a pod's resolv.conf", s.Addrs)
	case s.Source == "kubelet":
		return fmt.Sprintf("%v is the cluster's DNS service (clusterDNS) according to the kubelet's configuration", s.Addrs)
	case s.Source == "env":
		return fmt.Sprintf("%v is a service's address according to the environment of a pod's process", s.Addrs)
	case s.CIDR.IsValid():
		return fmt.Sprintf("services have addresses in %v", s.CIDR)
	}
	return fmt.Sprintf("%v is a service's address according to %s", s.Addrs, s.Source)
}
