package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder"
)

// noEndpoints reports a packet to a service that kube-proxy refuses or drops since nobody serves it. The rule that does
// so comes behind routing: where there is no way to the service's address the packet dies before it.
func noEndpoints(k *Facts, e decoder.Event, d decoder.Drop) (decoder.Finding, bool) {
	to := e.Packet.Destination()
	rules, _ := k.rules.Get(rulesKey{e.Netns, e.Packet.Proto, to})
	if d.Conntrack.DNAT() || !d.ByNetfilter() && rules.State != decoder.ServiceNoEndpoints {
		return decoder.Finding{}, false
	}
	rule := rules.Rule
	if b, ok := k.blame(e, d); ok && rules.State != decoder.ServiceNoEndpoints {
		if len(b.Suspects) == 0 || !strings.Contains(b.Suspects[0].Text, "has no endpoints") {
			return decoder.Finding{}, false
		}
		rule = b.Suspects[0].RuleFact.String()
		rules.Service = commented(b.Suspects[0].Text)
	} else if rules.State != decoder.ServiceNoEndpoints {
		return decoder.Finding{}, false
	}
	s, _ := k.ServiceAt(e.Netns, e.Packet.Proto, to)
	return decoder.Finding{
		ID: "service-no-endpoints", Confidence: decoder.Certain, Subject: to.String(),
		Title:    fmt.Sprintf("Nobody serves %s: it has no ready endpoints, and the node refuses its connections.", called(s, rules, to)),
		Cause:    "The service selects no pod that is ready, so kube-proxy wrote a rule that refuses it.",
		Evidence: []string{"the rule: " + rule},
		Remedy:   endpoints(s, rules),
	}, true
}

// commented is the service that kube-proxy's comment names: "ns/name:port has no endpoints".
func commented(text string) string {
	before, _, _ := strings.Cut(text, " has no endpoints")
	return before[strings.LastIndexAny(before, `" `)+1:]
}

// endpoints is how to see who serves.
func endpoints(s decoder.ServiceFact, r decoder.ServiceRules) []string {
	namespace, name := s.Namespace, s.Name
	if name == "" {
		namespace, name, _ = strings.Cut(r.Service, "/")
		name, _, _ = strings.Cut(name, ":")
	}
	if name == "" {
		return []string{"kubectl get endpointslices -A", "kubectl get services -A -o wide"}
	}
	return []string{
		fmt.Sprintf("kubectl -n %s get endpointslices -l kubernetes.io/service-name=%s", namespace, name),
		fmt.Sprintf("kubectl -n %s get service %s -o wide   # its selector, against the pods' labels and readiness", namespace, name),
	}
}
