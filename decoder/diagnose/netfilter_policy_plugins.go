// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"regexp"
	"strings"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

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

// tablePrefix is what Calico puts before the names of chains in nftables, where it has one table.
var tablePrefix = regexp.MustCompile(`^(?:filter|raw|mangle|nat)-`)

// policyOf reads whose policy a rule is of. ok is false if it is of none that is known here.
func policyOf(r event.RuleFact) (p netPolicy, ok bool) {
	chain, comment := tablePrefix.ReplaceAllString(r.Chain, ""), commentOf(r.Text)
	switch {
	case strings.HasPrefix(chain, "cali-"):
		return calico(chain, comment, r), true
	case strings.HasPrefix(chain, "KUBE-POD-FW-"), strings.HasPrefix(chain, "KUBE-NWPLCY-"), strings.HasPrefix(chain, "KUBE-ROUTER-"):
		return kubeRouter(comment, r), true
	case strings.HasPrefix(chain, "CILIUM_"), strings.HasPrefix(comment, "cilium"): // its policies are BPF programs
		return netPolicy{by: "Cilium", other: true, says: comment}, true
	case strings.HasPrefix(chain, "ANTREA-"), strings.HasPrefix(comment, "Antrea: "):
		return antrea(chain, comment, r.Heads), true
	case policyPluginOf(r.Table) != "":
		return netPolicy{by: policyPluginOf(r.Table)}, true
	}
	return netPolicy{}, false
}

// calicoPolicy is the comment of a policy's own rules: "Policy shop/knp.default.deny-all ingress", or, of newer releases and
// with the kind, "KubernetesNetworkPolicy shop/deny-all ingress".
var calicoPolicy = regexp.MustCompile(`(\w*)Policy (?:([^\s/]+)/)?(\S+) (?:ingress|egress)`)

// calicoPrefixes are what Calico puts before the names of policies that are not its own.
func calicoPrefixes() map[string]string {
	return map[string]string{"knp.default.": "", "kanp.adminnetworkpolicy.": "adminnetworkpolicy", "kbanp.baselineadminnetworkpolicy.": "baselineadminnetworkpolicy"}
}

// calicoKinds are resources by the kind, less "Policy".
func calicoKinds() map[string]string {
	return map[string]string{
		"KubernetesNetwork": "", "KubernetesAdminNetwork": "adminnetworkpolicy", "KubernetesBaselineAdminNetwork": "baselineadminnetworkpolicy",
		"KubernetesClusterNetwork": "clusternetworkpolicies.policy.networking.k8s.io",
	}
}

// calicoRef is the policy of a comment.
func calicoRef(kind, namespace, name string) policyRef {
	resource, foreign := calicoKinds()[kind]
	for prefix, r := range calicoPrefixes() {
		if rest, ok := strings.CutPrefix(name, prefix); ok && kind == "" {
			name, resource, foreign = rest, r, true
		}
	}
	switch {
	case foreign:
	case namespace == "":
		resource = "globalnetworkpolicies.crd.projectcalico.org"
	default:
		resource = "networkpolicies.crd.projectcalico.org"
	}
	return policyRef{resource, namespace, name}
}

// calicoHash is Calico's own mark in its comments, calicoTier what it says at the end of a tier.
var (
	calicoHash = regexp.MustCompile(`cali:\S*\s*`)
	calicoTier = regexp.MustCompile(`End of tier (\S+)\. `)
)

// calico: a policy's chain says in the first rule alone whose it is; the drop behind all policies of a tier is of none.
func calico(chain, comment string, r event.RuleFact) netPolicy {
	p := netPolicy{by: "Calico", none: strings.Contains(comment, "no policies passed")}
	texts := []string{comment}
	ofPolicy := strings.HasPrefix(chain, "cali-pi-") || strings.HasPrefix(chain, "cali-po-")
	switch {
	case p.none:
		texts = r.Asked
	case ofPolicy && !calicoPolicy.MatchString(comment):
		texts = r.Heads
	}
	tier := calicoTier.FindStringSubmatch(comment)
	for _, text := range texts {
		m := calicoPolicy.FindStringSubmatch(text)
		if m == nil || tier != nil && inOtherTier(m[1], m[3], tier[1]) {
			continue
		}
		p.named = append(p.named, calicoRef(m[1], m[2], m[3]))
	}
	if len(p.named) == 0 && !p.none && !ofPolicy {
		p.other, p.says = true, strings.Trim(calicoHash.ReplaceAllString(comment, ""), "; ")
	}
	return p
}

// inOtherTier reports whether a policy is known to be in another tier than the one given: those of Kubernetes have theirs, and
// the names of Calico's own begin with it unless they are of a newer release.
func inOtherTier(kind, name, tier string) bool {
	tiers := map[string]string{
		"knp.default": "default", "kanp.adminnetworkpolicy": "adminnetworkpolicy", "kbanp.baselineadminnetworkpolicy": "baselineadminnetworkpolicy",
		"KubernetesNetwork": "default", "KubernetesAdminNetwork": "adminnetworkpolicy", "KubernetesBaselineAdminNetwork": "baselineadminnetworkpolicy",
	}
	if of, ok := tiers[kind]; ok {
		return of != tier
	}
	parts := strings.SplitN(name, ".", 3)
	if len(parts) == 3 {
		if of, ok := tiers[parts[0]+"."+parts[1]]; ok {
			return of != tier
		}
	}
	return kind == "" && len(parts) > 1 && parts[0] != tier
}

// What kube-router says in its rules: "rule to REJECT traffic destined for POD name:web-0 namespace: shop",
// "... selected by policy name deny-all namespace shop", and where a pod's chain asks one: "run through nw policy deny-all".
// Those for nftables leave the namespace away, which the rule that leads to a pod's chain has: "... POD name:web-0 ns: shop".
var (
	kubeRouterPod    = regexp.MustCompile(`POD name:\s*(\S+)(?: (?:namespace|ns):\s*(\S+))?`)
	kubeRouterPolicy = regexp.MustCompile(`policy name:?\s*(\S+) namespace:?\s*(\S+)`)
	kubeRouterAsked  = regexp.MustCompile(`run through nw policy (\S+)`)
)

func kubeRouter(comment string, r event.RuleFact) netPolicy {
	p := netPolicy{by: "kube-router"}
	if m := kubeRouterPolicy.FindStringSubmatch(comment); m != nil {
		p.named = []policyRef{{namespace: m[2], name: m[1]}}
		return p
	}
	m := kubeRouterPod.FindStringSubmatch(comment)
	if m == nil {
		p.other, p.says = !strings.HasPrefix(r.Chain, "KUBE-NWPLCY-"), comment
		return p
	}
	namespace := m[2]
	if namespace == "" {
		namespace = kubeRouterNamespace(m[1], r.Heads)
	}
	p.pod, p.none = strings.TrimPrefix(namespace+"/"+m[1], "/"), true
	for _, text := range r.Asked {
		if a := kubeRouterAsked.FindStringSubmatch(text); a != nil {
			p.named = append(p.named, policyRef{namespace: namespace, name: strings.TrimSuffix(a[1], ";")})
		}
	}
	return p
}

// kubeRouterNamespace is the namespace of a pod, as the rules that lead to its chain have it; "" if they do not agree.
func kubeRouterNamespace(pod string, heads []string) (namespace string) {
	for _, text := range heads {
		m := kubeRouterPod.FindStringSubmatch(text)
		switch {
		case m == nil || m[1] != pod || m[2] == "":
		case namespace != "" && namespace != m[2]:
			return ""
		default:
			namespace = m[2]
		}
	}
	return namespace
}

// antreaPolicy is the comment of a node's policy: "Antrea: for rule 1234, policy AntreaClusterNetworkPolicy:deny".
var antreaPolicy = regexp.MustCompile(`for rule \S+, policy (?:([A-Za-z0-9]+):)?(?:([^\s/]+)/)?([^\s,]+)`)

// antrea: a policy's rule with several services has a chain of its own, whose rules say nothing; that which leads there does.
func antrea(chain, comment string, heads []string) netPolicy {
	resources := map[string]string{
		"AntreaClusterNetworkPolicy": "clusternetworkpolicies.crd.antrea.io", "AntreaNetworkPolicy": "networkpolicies.crd.antrea.io",
		"AdminNetworkPolicy": "adminnetworkpolicy", "BaselineAdminNetworkPolicy": "baselineadminnetworkpolicy",
	}
	p := netPolicy{by: "Antrea"}
	ofPolicy := strings.HasPrefix(chain, "ANTREA-POL-")
	if comment == "" && ofPolicy && len(heads) == 1 {
		comment = heads[0]
	}
	m := antreaPolicy.FindStringSubmatch(comment)
	switch {
	case m != nil:
		p.named = []policyRef{{resources[m[1]], m[2], m[3]}}
	case !ofPolicy:
		p.other, p.says = true, strings.TrimPrefix(comment, "Antrea: ")
	}
	return p
}

// policyPluginOf is whose program judges the packets that the rules of a table hand over, "" if it is of none that is known here.
func policyPluginOf(table string) string {
	return map[string]string{"kube-network-policies": "kube-network-policies", "kindnet-network-policies": "kindnet"}[table]
}

func (st *State) learnPolicyPlugin(c event.ChainFact) {
	if by := policyPluginOf(c.Table); by != "" {
		st.policyPlugins.Put(bounded.Owner{Netns: c.Netns}, c.Netns, by)
	}
}
