// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder/event"
)

// netPolicy is what a rule says of the network policy that it was made for.
type netPolicy struct {
	by    string      // whose rule it is
	named []policyRef // the policy; at the end of a pod's policies those that were asked and do not allow the packet
	pod   string      // ns/name of the pod that it isolates, or its name alone; "" if the rule does not say
	none  bool        // it is the end of the pod's policies: none of them allows the packet
	other bool        // it is no policy's, but one that the plugin needs besides
	says  string      // what the plugin itself says of such a rule
}

// policyRef is a policy as kubectl finds it.
type policyRef struct {
	resource  string // "" for a NetworkPolicy of Kubernetes
	namespace string // "" if it has none, or if that is not known
	name      string
}

// String is the policy's name as people say it.
func (p policyRef) String() string {
	if p.namespace == "" {
		return p.name
	}
	return p.namespace + "/" + p.name
}

// see is the command that shows the policy. A rule of a pod's own may say any name.
func (p policyRef) see() event.Remedy {
	switch {
	case p.resource == "" && p.namespace == "":
		return run("kubectl get networkpolicies -A -o yaml --field-selector metadata.name=%v", p.name)
	case p.resource == "":
		return run("kubectl -n %v describe networkpolicy %v", p.namespace, p.name)
	case p.namespace == "":
		return run("kubectl describe %v %v", p.resource, p.name)
	}
	return run("kubectl -n %v describe %v %v", p.namespace, p.resource, p.name)
}

// ofPolicy has a finding about a rule name the network policy that the rule is of.
func ofPolicy(f *event.Finding, e event.Event, r event.RuleFact) {
	p, ok := policyOf(r)
	if !ok {
		return
	}
	f.Title = p.title(e, f.ID == "netfilter-reject")
	if p.other {
		return
	}
	f.Cause = "A network policy that selects a pod denies all that no policy for it allows. " + f.Cause
	var see []event.Remedy
	for _, one := range p.named {
		see = append(see, one.see())
	}
	switch namespace, name, ok := strings.Cut(p.pod, "/"); {
	case ok:
		see = append(see, run("kubectl -n %v get networkpolicies", namespace), run("kubectl -n %v get pod %v --show-labels", namespace, name))
	case p.pod != "":
		see = append(see, run("kubectl get pods -A --show-labels --field-selector metadata.name=%v", p.pod))
	}
	see = append(see, allPolicies())
	f.Remedy = append(see, f.Remedy...)
}

// allPolicies shows every policy of Kubernetes' own kind.
func allPolicies() event.Remedy {
	return run("kubectl get networkpolicies -A").Noting("which select the pod, and what they allow")
}

// title says what the policy does to packets.
func (p netPolicy) title(e event.Event, rejects bool) string {
	does, done := "drops", "dropped"
	if rejects {
		does, done = "rejects", "rejected"
	}
	packets := "packets to " + target(e)
	pod := "the pod"
	if p.pod != "" {
		pod += " " + p.pod
	}
	var names []string
	for _, one := range p.named {
		names = append(names, one.String())
	}
	switch {
	case p.other && p.says != "":
		return fmt.Sprintf("A rule of %s (%q), which is no network policy's, %s %s.", p.by, p.says, does, packets)
	case p.other:
		return fmt.Sprintf("A rule of %s, which is no network policy's, %s %s.", p.by, does, packets)
	case len(names) == 0 && p.none:
		return fmt.Sprintf("No network policy that selects %s allows it: %s %s %s.", pod, p.by, does, packets)
	case len(names) == 0:
		return fmt.Sprintf("The network policies of %s: a rule of theirs %s %s.", p.by, does, packets)
	case !p.none:
		return fmt.Sprintf("The network policy %s (%s) %s %s.", names[0], p.by, does, packets)
	case len(names) == 1:
		return fmt.Sprintf("The network policy %s (%s) selects %s and does not allow %s: they are %s.", names[0], p.by, pod, packets, done)
	}
	return fmt.Sprintf("None of the network policies %s (%s) that select %s allows %s: they are %s.", strings.Join(names, ", "), p.by, pod, packets, done)
}
