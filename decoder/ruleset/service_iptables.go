// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// iptablesPortals reads the chains of services: their rules are known by their comment, "ns/name:port cluster IP".
func (t *Table) iptablesPortals() []portal {
	var all []portal
	for _, name := range []string{"KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS"} {
		c := t.Chain(name)
		if c == nil {
			continue
		}
		for i := range c.Rules {
			if p, ok := t.iptablesPortal(c, &c.Rules[i]); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// iptablesPortal reads one rule. One that translates jumps to the service's chain; one that refuses says why.
func (t *Table) iptablesPortal(c *Chain, r *Rule) (portal, bool) {
	who, what, _ := strings.Cut(r.Comment(), " ")
	proto, addr := r.value(Proto), r.destination()
	refused := map[string]string{"has no endpoints": event.ServiceNoEndpoints, "has no local endpoints": event.ServiceNoLocal}[what]
	jumps := r.Verdict.Action == Jump && t.ofService(r.Verdict.Chain)
	if !strings.Contains(who, "/") || addr.Port() == 0 || len(proto) != 1 || refused == "" && !jumps {
		return portal{}, false
	}
	if !addr.Addr().IsValid() && c.Name == "KUBE-SERVICES" {
		return portal{}, false // of an address that is not known
	}
	p := portal{source: "iptables", system: t.System, addr: addr, proto: protoText(proto[0]), refused: refused,
		external: c.Name != "KUBE-SERVICES" || !slices.Contains([]string{"cluster IP", "has no endpoints", "has no local endpoints"}, what),
		rule:     func() string { return "table " + t.Name + ": " + r.Text(c) }}
	p.namespace, p.name, p.port = servicePort(who)
	if jumps {
		p.endpoints = t.endpoints(t.Chain(r.Verdict.Chain), 0)
	}
	return p, true
}

// ofService is whether a chain is one that a service's packets are sent to.
func (t *Table) ofService(chain string) bool {
	return slices.ContainsFunc([]string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-"}, func(prefix string) bool {
		return strings.HasPrefix(chain, prefix)
	})
}

// value is the single value that a rule asks of a field.
func (r *Rule) value(f Field) []byte {
	for i := range r.Matches {
		m := &r.Matches[i]
		if m.Field == f && !m.Invert && m.Mask == nil && m.Set == nil && int(m.Width)*2 == len(m.Values) &&
			string(m.Values[:m.Width]) == string(m.Values[m.Width:]) {
			return m.Values[:m.Width]
		}
	}
	return nil
}

// destination is the single address and port that a rule is for, as far as it asks for them.
func (r *Rule) destination() netip.AddrPort {
	addr, _ := netip.AddrFromSlice(r.value(DstAddr))
	port := r.value(DstPort)
	if len(port) != 2 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port))
}

// endpoints follows the chain of a service, and those of its policies, to the endpoints'.
func (t *Table) endpoints(service *Chain, depth int) []netip.AddrPort {
	const deepest = 4 // of a load balancer: firewall, external, policy, endpoint
	if service == nil || depth > deepest {
		return nil
	}
	var all []netip.AddrPort
	for i := range service.Rules {
		v := &service.Rules[i].Verdict
		switch {
		case strings.HasPrefix(v.Chain, "KUBE-SEP-"):
			all = append(all, t.Chain(v.Chain).translations()...)
		case t.ofService(v.Chain):
			all = append(all, t.endpoints(t.Chain(v.Chain), depth+1)...)
		}
	}
	return all
}
