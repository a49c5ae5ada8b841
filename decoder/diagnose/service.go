package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder"
)

// ServiceAt returns the service whose address it is, as the best source knows it: the rules of the namespace where the
// packet is, or the API, before rules elsewhere; one that has the port, or else a name.
func (k *Facts) ServiceAt(netns uint32, proto string, at netip.AddrPort) (decoder.ServiceFact, bool) {
	var best decoder.ServiceFact
	most := -1
	for _, s := range k.services.of(at.Addr()) {
		if !k.concerns(s, netns) {
			continue
		}
		points := 0
		if s.Netns == netns || s.Netns == 0 {
			points += 4
		}
		if has(s, proto, at.Port()) {
			points += 2
		}
		if s.Name != "" {
			points++
		}
		if points > most || points == most && s.Source+s.Namespace+s.Name < best.Source+best.Namespace+best.Name {
			best, most = s, points
		}
	}
	if most >= 0 && !has(best, proto, at.Port()) {
		best.Namespace, best.Name = "", "" // another's at the same address
	}
	return best, most >= 0
}

// concerns reports whether what a source knows of services is true for a namespace: rules are for the namespace that
// they are in, and the node's own for its pods. Another namespace may be another node.
func (k *Facts) concerns(s decoder.ServiceFact, netns uint32) bool {
	rules := s.Source == "iptables" || s.Source == "nftables" || s.Source == "ipvs"
	return !rules || s.Netns == netns || s.Netns == k.node.Netns
}

// has reports whether a service has a port.
func has(s decoder.ServiceFact, proto string, port uint16) bool {
	return slices.ContainsFunc(s.Ports, func(p decoder.ServicePort) bool { return p.Proto == proto && p.Port == port })
}

// rulesFor is the state of the node's rules for an address: of the namespace where the packet is, or, if that has none
// at all, of another that such packets passed, which is the one to translate.
func (k *Facts) rulesFor(netns uint32, proto string, to netip.AddrPort) (decoder.ServiceRules, bool) {
	own, ok := k.rules.Get(rulesKey{netns, proto, to})
	if ok && own.State != decoder.ServiceNone {
		return own, true
	}
	for key, r := range k.rules.All() {
		if key.proto == proto && key.addr == to && r.State != decoder.ServiceNone && (own.State == "" || own.State == decoder.ServiceNone || key.netns < own.Netns) {
			own, ok = r, true
		}
	}
	return own, ok
}

// called names a service address.
func called(s decoder.ServiceFact, r decoder.ServiceRules, to netip.AddrPort) string {
	switch {
	case s.Name != "":
		return fmt.Sprintf("service %s/%s (%v)", s.Namespace, s.Name, to)
	case r.Service != "":
		return fmt.Sprintf("service %s (%v)", r.Service, to)
	}
	return fmt.Sprintf("service address %v", to)
}

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

// missedService reports a packet to a service's address that died as it came.
func missedService(k *Facts, e decoder.Event, d decoder.Drop) (decoder.Finding, bool) {
	if d.Conntrack.DNAT() || e.Netns != k.node.Netns && d.ByNetfilter() {
		return decoder.Finding{}, false
	}
	return k.missed(e, d.Conntrack)
}

// mayBeAnswered is mayLearn for a packet that left untranslated. A server that only a resolv.conf tells for a service's may
// be one that is asked by its own address, and be slow.
func (k *Facts) mayBeAnswered(e decoder.Event, age time.Duration) bool {
	s, known := k.ServiceAt(e.Netns, e.Packet.Proto, e.Packet.Destination())
	return k.mayLearn(e, age) || known && s.Source == "resolv" && age < factsAtLast && !k.before.serves(e)
}

// missed concludes from a packet that is on its way to a service's address, or died on it, and was not translated.
func (k *Facts) missed(e decoder.Event, c *decoder.Conntrack) (decoder.Finding, bool) {
	to := e.Packet.Destination()
	if f, ok := k.askedNobody(to); ok {
		return f, true
	}
	s, known := k.ServiceAt(e.Netns, e.Packet.Proto, to)
	rules, looked := k.rulesFor(e.Netns, e.Packet.Proto, to)
	if !known || to.Port() == 0 || looked && rules.State == decoder.ServicePresent && c == nil || k.before.serves(e) {
		return decoder.Finding{}, false
	}
	f := decoder.Finding{
		ID: "service-dnat-miss", Confidence: decoder.Certain, Subject: fmt.Sprintf("%s %v", e.Packet.Proto, to),
		Title:    fmt.Sprintf("Packets to %s are not translated to a backend, and go where nobody is.", called(s, rules, to)),
		Cause:    "No rule of the node matched: kube-proxy has not written the rules, lost them, or the service has no such port.",
		Evidence: []string{fmt.Sprintf("untranslated at %s", decoder.Place(e)), source(s)},
		Remedy: []string{
			fmt.Sprintf("iptables-save -t nat | grep %v", to.Addr()),
			fmt.Sprintf("nft list ruleset | grep %v", to.Addr()),
			"kubectl -n kube-system get pods -o wide -l k8s-app=kube-proxy",
		},
	}
	unmatched := k.unmatched(about(decoder.NetfilterUntranslated, e), c)
	if s.Source == "resolv" && (unmatched == "" || to.Addr().IsLinkLocalUnicast()) {
		f.Confidence = decoder.Likely // a resolv.conf can name another server than the cluster's
	}
	if c != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack entry: %v, %v", c.Original, c))
	} else {
		f.Evidence = append(f.Evidence, "conntrack has no entry for it")
	}
	if unmatched != "" {
		f.Evidence = append(f.Evidence, unmatched)
	}
	switch rules.State {
	case decoder.ServiceNone:
		f.ID = "kube-proxy-rules-missing"
		f.Title = fmt.Sprintf("The node has no rules for services at all, so packets to %s go where nobody is.", called(s, rules, to))
		f.Cause = "kube-proxy never wrote here, or somebody removed its rules."
		f.Subject = fmt.Sprintf("netns %d", k.before.left(e))
	case decoder.ServiceMissing:
		f.Evidence = append(f.Evidence, fmt.Sprintf("%d addresses and ports of services have rules, %v has none; searched: %s",
			rules.Services, to, strings.Join(rules.Searched, ", ")))
	}
	return f, true
}

// source says how it is known that an address is a service's.
func source(s decoder.ServiceFact) string {
	switch s.Source {
	case "resolv":
		return fmt.Sprintf("%v is the nameserver of a pod's resolv.conf", s.Addrs)
	case "cidr":
		return fmt.Sprintf("services have addresses in %v", s.CIDR)
	}
	return fmt.Sprintf("%v is a service's address according to %s", s.Addrs, s.Source)
}
