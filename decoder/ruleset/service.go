// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// portal is one address and port of a service as kube-proxy's rules have it.
type portal struct {
	source    string // iptables, nftables
	system    System
	namespace string
	name      string
	port      string
	proto     string
	addr      netip.AddrPort // without an address: the port on every address of the node
	external  bool           // the address is none of the cluster's own
	refused   string         // a state that says why, if the rule refuses
	endpoints []netip.AddrPort
	rule      func() string // its text
}

// service is what the rules call it: ns/name:port.
func (p *portal) service() string {
	if p.name == "" {
		return ""
	}
	return strings.TrimSuffix(p.namespace+"/"+p.name+":"+p.port, ":")
}

// ServiceSets returns the sets that Services looks into and that are not loaded yet.
func (rs *Ruleset) ServiceSets() []*Set {
	var sets []*Set
	for _, t := range rs.Tables {
		if t.Name == kubeProxyTable {
			sets = append(sets, t.nftServiceSets()...)
		}
	}
	return slices.DeleteFunc(sets, func(s *Set) bool { return s.Loaded })
}

// Services returns the services that kube-proxy wrote rules for, in its iptables and its nftables mode, and what else these
// rules say of the addresses of services.
func (rs *Ruleset) Services(netns uint32) []event.ServiceFact {
	type owner struct {
		system          System
		namespace, name string
	}
	var facts []event.ServiceFact
	at := map[owner]int{}
	for _, p := range rs.portals() {
		k := owner{p.system, p.namespace, p.name}
		i, ok := at[k]
		if !ok {
			i = len(facts)
			at[k] = i
			facts = append(facts, event.ServiceFact{Namespace: p.namespace, Name: p.name, Source: p.source, System: string(p.system), Netns: netns})
		}
		p.into(&facts[i])
	}
	for _, t := range rs.Tables {
		if t.Name == kubeProxyTable {
			facts = append(facts, t.nftRanges(netns, facts)...)
		}
	}
	return facts
}

// into adds the portal to its service.
func (p *portal) into(f *event.ServiceFact) {
	addrs := &f.Addrs
	if p.external {
		addrs = &f.External
	}
	if !slices.Contains(*addrs, p.addr.Addr()) {
		*addrs = append(*addrs, p.addr.Addr())
	}
	for i := range f.Ports {
		if o := &f.Ports[i]; o.Proto == p.proto && o.Port == p.addr.Port() { // at another address, under another policy
			for _, e := range p.endpoints {
				if !slices.Contains(o.Endpoints, e) {
					o.Endpoints = append(slices.Clip(o.Endpoints), e)
				}
			}
			return
		}
	}
	f.Ports = append(f.Ports, event.ServicePort{Name: p.port, Proto: p.proto, Port: p.addr.Port(), Endpoints: p.endpoints, Known: true})
}

// portals finds all that have an address; those that refuse come last, so that a service's ports have the endpoints of
// another rule first.
func (rs *Ruleset) portals() []portal {
	return slices.DeleteFunc(rs.allPortals(), func(p portal) bool { return !p.addr.Addr().IsValid() })
}

func (rs *Ruleset) allPortals() []portal {
	var all []portal
	for _, t := range rs.Tables {
		switch {
		case t.Name == kubeProxyTable:
			all = append(all, t.nftPortals()...)
		case t.isIptables():
			all = append(all, t.iptablesPortals()...)
		}
	}
	refusing := slices.DeleteFunc(slices.Clone(all), func(p portal) bool { return p.refused == "" })
	return append(slices.DeleteFunc(all, func(p portal) bool { return p.refused != "" }), refusing...)
}

// servicePort splits "ns/name:port" as kube-proxy writes it; the port has no name if the service has only one.
func servicePort(s string) (namespace, name, port string) {
	s, port, _ = strings.Cut(s, ":")
	namespace, name, _ = strings.Cut(s, "/")
	return namespace, name, port
}

// translations are the destinations that the rules of a chain set.
func (c *Chain) translations() []netip.AddrPort {
	if c == nil {
		return nil
	}
	var all []netip.AddrPort
	for i := range c.Rules {
		if to, err := netip.ParseAddrPort(c.Rules[i].Verdict.DNAT); err == nil {
			all = append(all, to)
		}
	}
	return all
}

// ServiceRules says what the rules do for a packet to a service's address. Whatever translates it counts, be it
// kube-proxy's or not; the packet's family, protocol, source and destination must be set. It also returns the sets that
// have to be loaded first for a better answer.
func (rs *Ruleset) ServiceRules(netns uint32, p Packet) (event.ServiceRules, []*Set) {
	f := event.ServiceRules{Netns: netns, Proto: protoText(p.Proto), Addr: netip.AddrPortFrom(p.Dst, p.Dport), State: event.ServiceNone}
	portals := rs.allPortals()
	for i := range portals {
		if portals[i].addr.Addr().IsValid() {
			f.Services++
		}
	}
	f.Searched = rs.searched(p.Family)
	if f.Services > 0 || slices.ContainsFunc(rs.Tables, (*Table).ofKubeProxy) {
		f.State = event.ServiceMissing
	}
	wanted := rs.ServiceSets()
	for _, h := range []Hook{Prerouting, Output} {
		p.Hook = h
		w := rs.Walk(&p)
		wanted = append(wanted, w.Wanted...)
		w.service(&f, h)
	}
	for i := range portals {
		if portals[i].describe(&f) {
			break
		}
	}
	return f, wanted
}

// service takes in what a walk at a hook found out about a packet to a service's address.
func (w *Walk) service(f *event.ServiceRules, h Hook) {
	text := func(x Candidate) string { return "table " + x.Chain.Table.Name + ": " + x.Rule.Text(x.Chain) }
	for _, x := range w.Translations {
		f.State = event.ServicePresent
		if f.Rule == "" {
			f.Rule = text(x)
		}
		if to, err := netip.ParseAddrPort(x.Verdict.DNAT); err == nil && !slices.Contains(f.Endpoints, to) {
			f.Endpoints = append(f.Endpoints, to)
		}
	}
	if len(w.Translations) > 0 {
		f.Hooks = append(f.Hooks, h.String())
	}
	for _, x := range w.Untracked {
		if x.Fit == Yes && f.Untracked == "" {
			f.Untracked = text(x)
		}
	}
}

// describe adds what a portal says of the address, and returns true if that is all there is to know.
func (p *portal) describe(f *event.ServiceRules) bool {
	if p.proto != f.Proto || p.addr.Port() != f.Addr.Port() {
		return false
	}
	if !p.addr.Addr().IsValid() {
		f.NodePort = p.service()
		return false
	}
	if p.addr != f.Addr {
		return false
	}
	f.Source, f.Rule, f.Service = p.source, p.rule(), p.service()
	switch {
	case p.refused != "":
		f.State = p.refused
	case f.State != event.ServicePresent && len(p.endpoints) == 0:
		f.State = event.ServiceNoEndpoints
	}
	return true
}

// ofKubeProxy is whether kube-proxy ever wrote into the table.
func (t *Table) ofKubeProxy() bool {
	return t.Name == kubeProxyTable || (t.Name == "nat" && t.Chain("KUBE-SERVICES") != nil)
}

// searched lists the tables in which a translation could be.
func (rs *Ruleset) searched(f Family) []string {
	var all []string
	for _, t := range rs.Tables {
		if t.Family != f && t.Family != Inet {
			continue
		}
		if slices.ContainsFunc(t.Chains, func(c *Chain) bool { return c.Type == "nat" || (t.Name == "nat" && c.Hook != NoHook) }) {
			all = append(all, string(t.System)+" "+t.Family.nft()+" "+t.Name)
		}
	}
	return all
}
