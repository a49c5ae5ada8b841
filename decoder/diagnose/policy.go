package diagnose

import (
	"fmt"
	"regexp"
	"strings"

	"ktrace/decoder"
)

// netPolicy is what a rule says of the network policy that it was made for.
type netPolicy struct {
	by   string // whose rule it is
	name string // of the policy: ns/name, or what the plugin calls it; "" if the rule does not say
	pod  string // ns/name of the pod that it isolates, "" if the rule does not say
	none bool   // it is the end of the pod's policies: none of them allows the packet
}

// comments are what iptables and nft print of a rule's comment.
var comments = regexp.MustCompile(`comment (?:"((?:[^"\\]|\\.)*)"|([^\s"-][^\s"]*))`)

// commentOf joins a rule's comments.
func commentOf(text string) string {
	var all []string
	for _, m := range comments.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(m[1]+m[2], `\"`, `"`))
	}
	return strings.Join(all, " ")
}

// policyOf reads whose policy a rule is of. ok is false if it is of none that is known here.
func policyOf(r decoder.RuleFact) (p netPolicy, ok bool) {
	chain, comment := strings.TrimPrefix(r.Chain, "filter-"), commentOf(r.Text)
	switch {
	case strings.HasPrefix(chain, "cali-"):
		return calico(comment), true
	case strings.HasPrefix(chain, "KUBE-POD-FW-"), strings.HasPrefix(chain, "KUBE-NWPLCY-"), strings.HasPrefix(chain, "KUBE-ROUTER-"):
		return kubeRouter(comment), true
	case strings.HasPrefix(chain, "CILIUM_"), strings.HasPrefix(comment, "cilium"):
		return netPolicy{by: "Cilium"}, true
	case strings.HasPrefix(chain, "ANTREA-"), strings.HasPrefix(comment, "Antrea: "):
		return antrea(comment), true
	case strings.Contains(r.Table, "kube-network-policies"):
		return netPolicy{by: "kube-network-policies"}, true
	}
	return netPolicy{}, false
}

// calicoPolicy is the comment of a policy's own rules: "Policy shop/knp.default.deny-all ingress".
var calicoPolicy = regexp.MustCompile(`\b(?:Staged)?Policy (\S+) (?:ingress|egress)`)

func calico(comment string) netPolicy {
	p := netPolicy{by: "Calico", none: strings.Contains(comment, "no policies passed") || strings.Contains(comment, "no profiles matched")}
	if m := calicoPolicy.FindStringSubmatch(comment); m != nil {
		p.name = strings.Replace(m[1], "/knp.default.", "/", 1) // a NetworkPolicy of Kubernetes, as Calico calls it
	}
	return p
}

// What kube-router says in its rules: "rule to REJECT traffic destined for POD name:web-0 namespace: shop",
// "... selected by policy name deny-all namespace shop".
var (
	kubeRouterPod    = regexp.MustCompile(`POD name:\s*(\S+) namespace:\s*(\S+)`)
	kubeRouterPolicy = regexp.MustCompile(`policy name:?\s*(\S+) namespace:?\s*(\S+)`)
)

func kubeRouter(comment string) netPolicy {
	p := netPolicy{by: "kube-router"}
	if m := kubeRouterPolicy.FindStringSubmatch(comment); m != nil {
		p.name = m[2] + "/" + m[1]
	}
	if m := kubeRouterPod.FindStringSubmatch(comment); m != nil {
		p.pod, p.none = m[2]+"/"+m[1], true
	}
	return p
}

// antreaPolicy is the comment of a node's policy: "Antrea: for rule 1234, policy AntreaClusterNetworkPolicy:deny".
var antreaPolicy = regexp.MustCompile(`policy (?:[A-Za-z0-9]+:)?(\S+)`)

func antrea(comment string) netPolicy {
	p := netPolicy{by: "Antrea"}
	if m := antreaPolicy.FindStringSubmatch(comment); m != nil {
		p.name = strings.TrimRight(m[1], ",")
	}
	return p
}

// ofPolicy has a finding about a rule name the network policy that the rule is of.
func ofPolicy(f *decoder.Finding, e decoder.Event, r decoder.RuleFact) {
	p, ok := policyOf(r)
	if !ok {
		return
	}
	verb := "drops packets to " + target(e)
	if f.ID == "netfilter-reject" {
		verb = "rejects packets to " + target(e)
	}
	namespace, name, named := strings.Cut(p.name, "/")
	switch {
	case p.name != "":
		f.Title = fmt.Sprintf("The network policy %s (%s) %s.", p.name, p.by, verb)
	case p.pod != "":
		f.Title = fmt.Sprintf("No network policy that selects the pod %s allows it: %s %s.", p.pod, p.by, verb)
	case p.none:
		f.Title = fmt.Sprintf("No network policy that selects the pod allows it: %s %s.", p.by, verb)
	default:
		f.Title = fmt.Sprintf("The network policies of %s: a rule of theirs %s.", p.by, verb)
	}
	f.Cause = "A network policy that selects a pod denies all that no policy for it allows. " + f.Cause
	see := []string{"kubectl get networkpolicies -A   # which select the pod, and what they allow"}
	if named {
		see = append([]string{fmt.Sprintf("kubectl -n %s describe networkpolicy %s", namespace, name)}, see...)
	}
	if p.pod != "" {
		namespace, name, _ = strings.Cut(p.pod, "/")
		see = append([]string{fmt.Sprintf("kubectl -n %s get networkpolicies; kubectl -n %s get pod %s --show-labels", namespace, namespace, name)}, see...)
	}
	f.Remedy = append(see, f.Remedy...)
}
