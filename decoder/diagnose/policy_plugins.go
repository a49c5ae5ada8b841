package diagnose

import (
	"regexp"
	"strings"

	"ktrace/decoder"
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

// policyOf reads whose policy a rule is of. ok is false if it is of none that is known here.
func policyOf(r decoder.RuleFact) (p netPolicy, ok bool) {
	chain, comment := strings.TrimPrefix(r.Chain, "filter-"), commentOf(r.Text)
	switch {
	case strings.HasPrefix(chain, "cali-"):
		return calico(comment, r.Asked), true
	case strings.HasPrefix(chain, "KUBE-POD-FW-"), strings.HasPrefix(chain, "KUBE-NWPLCY-"), strings.HasPrefix(chain, "KUBE-ROUTER-"):
		return kubeRouter(comment, r.Asked), true
	case strings.HasPrefix(chain, "CILIUM_"), strings.HasPrefix(comment, "cilium"):
		return netPolicy{by: "Cilium"}, true
	case strings.HasPrefix(chain, "ANTREA-"), strings.HasPrefix(comment, "Antrea: "):
		return antrea(comment), true
	case judgeOf(r.Table) != "":
		return netPolicy{by: judgeOf(r.Table)}, true
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

func calico(comment string, asked []string) netPolicy {
	p := netPolicy{by: "Calico", none: strings.Contains(comment, "no policies passed") || strings.Contains(comment, "no profiles matched")}
	if !p.none {
		asked = []string{comment}
	}
	for _, text := range asked {
		if m := calicoPolicy.FindStringSubmatch(text); m != nil {
			p.named = append(p.named, calicoRef(m[1], m[2], m[3]))
		}
	}
	return p
}

// What kube-router says in its rules: "rule to REJECT traffic destined for POD name:web-0 namespace: shop",
// "... selected by policy name deny-all namespace shop", and where a pod's chain asks one: "run through nw policy deny-all".
// Those for nftables leave the namespace away.
var (
	kubeRouterPod    = regexp.MustCompile(`POD name:\s*(\S+)(?: namespace:\s*(\S+))?`)
	kubeRouterPolicy = regexp.MustCompile(`policy name:?\s*(\S+) namespace:?\s*(\S+)`)
	kubeRouterAsked  = regexp.MustCompile(`run through nw policy (\S+)`)
)

func kubeRouter(comment string, asked []string) netPolicy {
	p := netPolicy{by: "kube-router"}
	if m := kubeRouterPolicy.FindStringSubmatch(comment); m != nil {
		p.named = []policyRef{{namespace: m[2], name: m[1]}}
	}
	m := kubeRouterPod.FindStringSubmatch(comment)
	if m == nil {
		return p
	}
	p.pod, p.none = strings.TrimPrefix(m[2]+"/"+m[1], "/"), true
	for _, text := range asked {
		if a := kubeRouterAsked.FindStringSubmatch(text); a != nil {
			p.named = append(p.named, policyRef{namespace: m[2], name: strings.TrimSuffix(a[1], ";")})
		}
	}
	return p
}

// antreaPolicy is the comment of a node's policy: "Antrea: for rule 1234, policy AntreaClusterNetworkPolicy:deny".
var antreaPolicy = regexp.MustCompile(`policy (?:([A-Za-z0-9]+):)?(?:([^\s/]+)/)?([^\s,]+)`)

func antrea(comment string) netPolicy {
	resources := map[string]string{
		"AntreaClusterNetworkPolicy": "clusternetworkpolicies.crd.antrea.io", "AntreaNetworkPolicy": "networkpolicies.crd.antrea.io",
		"AdminNetworkPolicy": "adminnetworkpolicy", "BaselineAdminNetworkPolicy": "baselineadminnetworkpolicy",
	}
	p := netPolicy{by: "Antrea"}
	if m := antreaPolicy.FindStringSubmatch(comment); m != nil {
		p.named = []policyRef{{resources[m[1]], m[2], m[3]}}
	}
	return p
}

// judgeOf is whose program judges the packets that the rules of a table hand over, "" if it is of none that is known here.
func judgeOf(table string) string {
	return map[string]string{"kube-network-policies": "kube-network-policies", "kindnet-network-policies": "kindnet"}[table]
}

func (k *Facts) learnJudge(c decoder.ChainFact) {
	if by := judgeOf(c.Table); by != "" {
		k.judges.Put(c.Netns, by)
	}
}
