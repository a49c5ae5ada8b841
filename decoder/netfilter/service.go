package netfilter

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ktrace/decoder"
)

// portal is one address and port of a service as kube-proxy's rules have it.
type portal struct {
	source    string // iptables, nftables
	namespace string
	name      string
	port      string
	proto     string
	addr      netip.AddrPort
	none      bool // the rule refuses: the service has no endpoints
	endpoints []netip.AddrPort
	rule      func() string // its text
}

// nftMaps are the maps of kube-proxy's nftables mode that have to be loaded to know the services.
func nftMaps() [2]string { return [...]string{"service-ips", noEndpoints} }

// noEndpoints is the map of the addresses that are refused.
const noEndpoints = "no-endpoint-services"

// ServiceSets returns the sets that Services looks into and that are not loaded yet.
func (rs *Ruleset) ServiceSets() []*Set {
	var sets []*Set
	for _, t := range rs.Tables {
		for _, name := range nftMaps() {
			if s := t.Sets[name]; s != nil && t.Name == "kube-proxy" && !s.Loaded {
				sets = append(sets, s)
			}
		}
	}
	return sets
}

// Services returns the services that kube-proxy wrote rules for, in its iptables and its nftables mode.
func (rs *Ruleset) Services(netns uint32) []decoder.ServiceFact {
	var facts []decoder.ServiceFact
	at := map[[3]string]int{}
	for _, p := range rs.portals() {
		k := [3]string{p.source, p.namespace, p.name}
		i, ok := at[k]
		if !ok {
			i = len(facts)
			at[k] = i
			facts = append(facts, decoder.ServiceFact{Namespace: p.namespace, Name: p.name, Source: p.source, Netns: netns})
		}
		p.into(&facts[i])
	}
	return facts
}

// into adds the portal to its service.
func (p *portal) into(f *decoder.ServiceFact) {
	if !slices.Contains(f.Addrs, p.addr.Addr()) {
		f.Addrs = append(f.Addrs, p.addr.Addr())
	}
	for i := range f.Ports {
		if f.Ports[i].Proto == p.proto && f.Ports[i].Port == p.addr.Port() {
			return
		}
	}
	f.Ports = append(f.Ports, decoder.ServicePort{Name: p.port, Proto: p.proto, Port: p.addr.Port(), Endpoints: p.endpoints, Known: true})
}

// portals finds all; those that refuse come last, so that a service's ports have the endpoints of another rule first.
func (rs *Ruleset) portals() []portal {
	var all []portal
	for _, t := range rs.Tables {
		switch {
		case t.Name == "kube-proxy":
			all = append(all, t.nftPortals()...)
		case t.isIptables():
			all = append(all, t.iptablesPortals()...)
		}
	}
	refusing := slices.DeleteFunc(slices.Clone(all), func(p portal) bool { return !p.none })
	return append(slices.DeleteFunc(all, func(p portal) bool { return p.none }), refusing...)
}

// servicePort splits "ns/name:port" as kube-proxy writes it; the port has no name if the service has only one.
func servicePort(s string) (namespace, name, port string) {
	s, port, _ = strings.Cut(s, ":")
	namespace, name, _ = strings.Cut(s, "/")
	return namespace, name, port
}

// iptablesPortals reads the chain KUBE-SERVICES: its rules are told by their comment, "ns/name:port cluster IP".
func (t *Table) iptablesPortals() []portal {
	services := t.Chain("KUBE-SERVICES")
	if services == nil {
		return nil
	}
	var all []portal
	for i := range services.Rules {
		r := &services.Rules[i]
		who, what, ok := strings.Cut(r.Comment(), " ")
		none := strings.HasSuffix(what, "has no endpoints")
		addr, found := r.destination()
		proto := r.value(Proto)
		if !ok || !found || len(proto) != 1 || !(none || r.Verdict.Action == Jump && strings.HasPrefix(r.Verdict.Chain, "KUBE-SVC-")) {
			continue
		}
		p := portal{source: "iptables", addr: addr, proto: protoText(proto[0]), none: none,
			rule: func() string { return "table " + t.Name + ": " + r.Text(services) }}
		p.namespace, p.name, p.port = servicePort(who)
		if !none {
			p.endpoints = t.endpoints(t.Chain(r.Verdict.Chain))
		}
		all = append(all, p)
	}
	return all
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

// destination is the single address and port that a rule is for.
func (r *Rule) destination() (netip.AddrPort, bool) {
	addr, ok := netip.AddrFromSlice(r.value(DstAddr))
	port := r.value(DstPort)
	if !ok || len(port) != 2 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port)), true
}

// endpoints follows the chain of a service to those of its endpoints.
func (t *Table) endpoints(service *Chain) []netip.AddrPort {
	if service == nil {
		return nil
	}
	var all []netip.AddrPort
	for i := range service.Rules {
		if v := &service.Rules[i].Verdict; strings.HasPrefix(v.Chain, "KUBE-SEP-") {
			all = append(all, t.Chain(v.Chain).translations()...)
		}
	}
	return all
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

// nftPortals reads the maps of kube-proxy's nftables mode: address . protocol . port : verdict. The chains have names
// like service-HASH-ns/name/proto/port and endpoint-HASH-ns/name/proto/port__address/port.
func (t *Table) nftPortals() []portal {
	endpoints := map[string][]netip.AddrPort{}
	for _, c := range t.Chains {
		if rest, ok := strings.CutPrefix(c.Name, "endpoint-"); ok {
			_, service, _ := strings.Cut(rest, "-")
			service, _, _ = strings.Cut(service, "__")
			endpoints[service] = append(endpoints[service], c.translations()...)
		}
	}
	var all []portal
	for _, name := range nftMaps() {
		s := t.Sets[name]
		if s == nil {
			continue
		}
		for i := range s.Elements {
			if p, ok := s.Elements[i].portal(t.Family); ok {
				p.none = name == noEndpoints
				p.rule = func() string { return "map " + s.String() + ": " + s.Elements[i].portalText(&p) }
				if !p.none {
					p.named(s.Elements[i].Verdict.Chain)
					p.endpoints = endpoints[p.namespace+"/"+p.name+"/"+p.proto+"/"+p.port]
				}
				all = append(all, p)
			}
		}
	}
	return all
}

// portal reads the key: address, protocol and port, each padded to four bytes.
func (e *Element) portal(f Family) (portal, bool) {
	size := 4
	if f == IPv6 {
		size = 16
	}
	if len(e.Lo) < size+6 || e.Verdict == nil {
		return portal{}, false
	}
	addr, _ := netip.AddrFromSlice(e.Lo[:size])
	p := portal{source: "nftables", proto: protoText(e.Lo[size]),
		addr: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(e.Lo[size+4:]))}
	return p, true
}

func (e *Element) portalText(p *portal) string {
	return p.addr.Addr().String() + " . " + p.proto + " . " + strconv.Itoa(int(p.addr.Port())) + " : " + e.Verdict.Target
}

// named takes the service's name from that of its chain.
func (p *portal) named(chain string) {
	parts := strings.SplitN(chain, "-", 3) // service, hash, the rest
	if len(parts) < 3 {
		return
	}
	words := strings.Split(parts[2], "/")
	if len(words) < 3 {
		return
	}
	p.namespace, p.name = words[0], words[1]
	if len(words) > 3 {
		p.port = words[3]
	}
}

// ServiceRules tells what the rules do for a packet to a service's address. Whatever translates it counts, be it
// kube-proxy's or not; the packet's family, protocol, source and destination must be set. It also returns the sets that
// have to be loaded first for a better answer.
func (rs *Ruleset) ServiceRules(netns uint32, p Packet) (decoder.ServiceRules, []*Set) {
	f := decoder.ServiceRules{Netns: netns, Proto: protoText(p.Proto), Addr: netip.AddrPortFrom(p.Dst, p.Dport), State: decoder.ServiceNone}
	portals := rs.portals()
	f.Services = len(portals)
	f.Searched = rs.searched(p.Family)
	if len(portals) > 0 || slices.ContainsFunc(rs.Tables, (*Table).ofKubeProxy) {
		f.State = decoder.ServiceMissing
	}
	wanted := rs.ServiceSets()
	for _, h := range []Hook{Prerouting, Output} {
		p.Hook = h
		w := rs.Suspects(&p)
		wanted = append(wanted, w.Wanted...)
		for _, x := range w.Translations {
			f.State = decoder.ServicePresent
			if f.Rule == "" {
				f.Rule = "table " + x.Chain.Table.Name + ": " + x.Rule.Text(x.Chain)
			}
			if to, err := netip.ParseAddrPort(x.Verdict.DNAT); err == nil && !slices.Contains(f.Endpoints, to) {
				f.Endpoints = append(f.Endpoints, to)
			}
		}
	}
	for i := range portals {
		q := &portals[i]
		if q.addr != f.Addr || q.proto != f.Proto {
			continue
		}
		f.Source, f.Rule = q.source, q.rule()
		f.Service = strings.TrimSuffix(q.namespace+"/"+q.name+":"+q.port, ":")
		if q.none || (f.State != decoder.ServicePresent && len(q.endpoints) == 0) {
			f.State = decoder.ServiceNoEndpoints
		}
		break
	}
	return f, wanted
}

// ofKubeProxy is whether kube-proxy ever wrote into the table.
func (t *Table) ofKubeProxy() bool {
	return t.Name == "kube-proxy" || (t.Name == "nat" && t.Chain("KUBE-SERVICES") != nil)
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
