// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// noEndpointsRule is why kube-proxy refuses a service's packets, and by which rule.
type noEndpointsRule struct {
	state   string // event.ServiceNoEndpoints or ServiceNoLocal
	service string // ns/name:port, "" if the rule does not say it
	rule    string
	policy  string // of the service, that wants an endpoint on this node
}

// noEndpoints reports a packet to a service that kube-proxy refuses or drops since nothing serves it. The rule that does
// so comes behind routing: where there is no way to the service's address the packet dies before it.
func noEndpoints(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if d.Conntrack.DNAT() || !d.ByNetfilter() && st.natHooksOf(e, d) != natHooksPassed {
		return event.Finding{}, false
	}
	rules, _ := st.rules.Get(rulesKey{e.Netns, e.Packet.Proto, e.Packet.Destination()})
	b, _ := st.dropRulesOf(e, d)
	if d.ByNetfilter() && len(b.Candidates) > 0 {
		if r, ok := st.rejectRuleOf(b.Candidates[0].RuleFact, e, rules); ok {
			return st.noEndpointsFinding(e, rules, r), true
		}
	}
	if r, ok := st.rejectRuleAt(e, rules); ok {
		return st.noEndpointsFinding(e, rules, r), true
	}
	return event.Finding{}, false
}

// rejectRuleOf says what a rule of kube-proxy's that dropped a packet says of the service: in its iptables mode by its
// comment, in its nftables mode by the chain that the element of a map led to.
func (st *State) rejectRuleOf(s event.RuleFact, e event.Event, rules event.ServiceRules) (noEndpointsRule, bool) {
	const none, noLocal = " has no endpoints", " has no local endpoints"
	r := noEndpointsRule{service: orElse(rules.Service, rules.NodePort), rule: s.String(), policy: st.policyFor(s, e)}
	comment := func(end string) string {
		before, _, _ := strings.Cut(s.Text, end)
		return before[strings.LastIndexAny(before, `" `)+1:]
	}
	checks := []string{"service-endpoints-check", "nodeport-endpoints-check"}
	nft := s.Table == "kube-proxy"
	switch {
	case strings.Contains(s.Text, none):
		r.state, r.service = event.ServiceNoEndpoints, comment(none)
	case strings.Contains(s.Text, noLocal):
		r.state, r.service = event.ServiceNoLocal, comment(noLocal)
	case nft && s.Chain == "reject-chain":
		r.state = event.ServiceNoEndpoints
	case nft && slices.Contains(checks, s.Chain) && s.Verdict == event.VerdictDrop:
		r.state = event.ServiceNoLocal
	}
	if nft && rules.Service != "" && rules.Rule != "" {
		r.rule = rules.Rule // the element, which names the address
	}
	return r, r.state != ""
}

// rejectRuleAt is what the rules have for the packet's destination.
func (st *State) rejectRuleAt(e event.Event, rules event.ServiceRules) (noEndpointsRule, bool) {
	is := rules.State == event.ServiceNoEndpoints || rules.State == event.ServiceNoLocal
	return noEndpointsRule{state: rules.State, service: rules.Service, rule: rules.Rule, policy: st.policyFor(event.RuleFact{}, e)}, is
}

// policyFor is the policy of the service that a packet's way to it comes under.
func (st *State) policyFor(s event.RuleFact, e event.Event) string {
	service, known := st.serviceTo(e)
	own := known && slices.Contains(service.Addrs, e.Packet.Dst)
	if s.Chain == "KUBE-SERVICES" || own && s.Chain != "KUBE-EXTERNAL-SERVICES" {
		return "internalTrafficPolicy"
	}
	return "externalTrafficPolicy"
}

// noEndpointsFinding is the finding about a service that has no endpoints, or none on this node.
func (st *State) noEndpointsFinding(e event.Event, rules event.ServiceRules, r noEndpointsRule) event.Finding {
	to := e.Packet.Destination()
	s, _ := st.serviceTo(e)
	rules.Service = r.service
	f := event.Finding{
		ID: "service-no-endpoints", Confidence: event.Certain, Subject: to.String(),
		Title:    fmt.Sprintf("%s has no ready endpoints, and the node refuses its connections.", upper(called(s, rules, to))),
		Cause:    "The service selects no pod that is ready, so kube-proxy wrote a rule that refuses it.",
		Evidence: []string{"the rule: " + r.rule},
		Remedy:   endpoints(s, rules),
	}
	if r.state == event.ServiceNoLocal {
		f.Title = fmt.Sprintf("%s has no endpoint on this node and its %s is Local, so the node drops packets to it.", upper(called(s, rules, to)), r.policy)
		f.Cause = fmt.Sprintf("With %s: Local a node sends packets to its own endpoints only; this one has none that is ready.", r.policy)
		f.Remedy = append(f.Remedy, do("send to a node that has one, or set the service's %s to Cluster", r.policy))
	}
	return f
}

// upper begins a sentence.
func upper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// endpoints is how to see who serves.
func endpoints(s event.ServiceFact, r event.ServiceRules) []event.Remedy {
	namespace, name := s.Namespace, s.Name
	if name == "" {
		namespace, name, _ = strings.Cut(r.Service, "/")
		name, _, _ = strings.Cut(name, ":")
	}
	if name == "" {
		return []event.Remedy{run("kubectl get endpointslices -A"), run("kubectl get services -A -o wide")}
	}
	return []event.Remedy{
		run("kubectl -n %v get endpointslices -l kubernetes.io/service-name=%v", namespace, name),
		run("kubectl -n %v get service %v -o wide", namespace, name).Noting("its selector, against the pods' labels and readiness"),
	}
}
