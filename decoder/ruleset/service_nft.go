// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ktrace/decoder/event"
)

// kubeProxyTable is the table of kube-proxy's nftables mode, and what in it says which addresses are services'.
const (
	kubeProxyTable = "kube-proxy"
	clusterIPs     = "cluster-ips"       // set of the addresses of all services
	clusterCheck   = "cluster-ips-check" // chain for what was not translated
)

// portalMap is a map of kube-proxy's by the address and port that packets are for.
type portalMap struct {
	name     string
	nodePort bool // by the port only
	refuses  bool
}

func portalMaps() []portalMap {
	return []portalMap{{name: "service-ips"}, {name: "service-nodeports", nodePort: true},
		{name: "no-endpoint-services", refuses: true}, {name: "no-endpoint-nodeports", nodePort: true, refuses: true}}
}

// nftServiceSets are the sets and maps that have to be loaded to know the services.
func (t *Table) nftServiceSets() []*Set {
	var sets []*Set
	for _, m := range portalMaps() {
		if s := t.Sets[m.name]; s != nil {
			sets = append(sets, s)
		}
	}
	if s := t.Sets[clusterIPs]; s != nil {
		sets = append(sets, s)
	}
	for _, m := range t.unallocated() {
		if m.Set != nil {
			sets = append(sets, m.Set)
		}
	}
	return sets
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
	own := t.clusterAddrs()
	var all []portal
	for _, m := range portalMaps() {
		s := t.Sets[m.name]
		if s == nil {
			continue
		}
		for i := range s.Elements {
			p, ok := s.Elements[i].portal(t.Family, m)
			if !ok {
				continue
			}
			p.system, p.rule = t.System, func() string { return "map " + s.String() + ": " + s.Elements[i].portalText(&p) }
			if p.refused == "" {
				p.endpoints = endpoints[p.namespace+"/"+p.name+"/"+p.proto+"/"+p.port]
			}
			p.external = p.external || own != nil && !own[p.addr.Addr()]
			all = append(all, p)
		}
	}
	return all
}

// clusterAddrs are the addresses that services have as their own; nil if that is not known.
func (t *Table) clusterAddrs() map[netip.Addr]bool {
	s := t.Sets[clusterIPs]
	if s == nil || !s.Loaded {
		return nil
	}
	all := make(map[netip.Addr]bool, len(s.Elements))
	for i := range s.Elements {
		if a, ok := netip.AddrFromSlice(s.Elements[i].Lo); ok {
			all[a] = true
		}
	}
	return all
}

// portal reads the key: address, protocol and port, each padded to four bytes.
func (e *Element) portal(f Family, m portalMap) (portal, bool) {
	size := 4
	if f == IPv6 {
		size = 16
	}
	if m.nodePort {
		size = 0
	}
	if len(e.Lo) < size+6 || e.Verdict == nil {
		return portal{}, false
	}
	addr, _ := netip.AddrFromSlice(e.Lo[:size])
	p := portal{source: "nftables", proto: protoText(e.Lo[size]),
		addr: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(e.Lo[size+4:])), external: strings.HasPrefix(e.Verdict.Chain, "external-")}
	switch {
	case !m.refuses:
		p.named(e.Verdict.Chain)
	case e.Verdict.Action == Drop:
		p.refused = event.ServiceNoLocal
	default:
		p.refused = event.ServiceNoEndpoints
	}
	if m.refuses {
		p.namespace, p.name, p.port = servicePort(e.Comment)
	}
	return p, true
}

func (e *Element) portalText(p *portal) string {
	text := p.proto + " . " + strconv.Itoa(int(p.addr.Port()))
	if p.addr.Addr().IsValid() {
		text = p.addr.Addr().String() + " . " + text
	}
	if e.Comment != "" {
		text += ` comment "` + e.Comment + `"`
	}
	return text + " : " + e.Verdict.Target
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

// unallocated are the conditions of the rule that drops packets to addresses of the ranges of services.
func (t *Table) unallocated() []*Match {
	var all []*Match
	c := t.Chain(clusterCheck)
	if c == nil {
		return nil
	}
	for i := range c.Rules {
		for j := range c.Rules[i].Matches {
			m := &c.Rules[i].Matches[j]
			byAddr := m.Field == DstAddr || len(m.Parts) == 1 && m.Parts[0].Field == DstAddr
			if c.Rules[i].Verdict.Action == Drop && byAddr && !m.Invert {
				all = append(all, m)
			}
		}
	}
	return all
}

// nftRanges finds the ranges that services have their addresses in, and which addresses are services' though no map names
// them any more.
func (t *Table) nftRanges(netns uint32, named []event.ServiceFact) []event.ServiceFact {
	fact := event.ServiceFact{Source: "nftables", System: string(t.System), Netns: netns}
	var facts []event.ServiceFact
	for _, m := range t.unallocated() {
		for _, r := range m.prefixes() {
			f := fact
			f.CIDR = r
			facts = append(facts, f)
		}
	}
	left := t.clusterAddrs()
	for _, f := range named {
		for _, a := range f.Addrs {
			if f.Source == fact.Source {
				delete(left, a)
			}
		}
	}
	fact.Addrs = slices.SortedFunc(maps.Keys(left), netip.Addr.Compare)
	if len(fact.Addrs) > 0 {
		facts = append(facts, fact)
	}
	return facts
}

// prefixes are those that a condition on an address asks for.
func (m *Match) prefixes() []netip.Prefix {
	var all []netip.Prefix
	take := func(lo, hi []byte) {
		if p, ok := prefixOf(lo, hi); ok {
			all = append(all, p)
		}
	}
	switch w := int(m.Width); {
	case m.Set != nil:
		for i := range m.Set.Elements {
			take(m.Set.Elements[i].Lo, m.Set.Elements[i].Hi)
		}
	case m.Mask != nil && w > 0 && len(m.Values) >= w:
		if a, ok := netip.AddrFromSlice(m.Values[:w]); ok {
			ones := 0
			for _, b := range m.Mask {
				ones += bits.OnesCount8(b)
			}
			all = append(all, netip.PrefixFrom(a, ones))
		}
	default:
		for at := 0; w > 0 && at+2*w <= len(m.Values); at += 2 * w {
			take(m.Values[at:at+w], m.Values[at+w:at+2*w])
		}
	}
	return all
}

// prefixOf is the prefix that goes from one address to another, if there is one. An address of which only the beginning
// is compared has no more bytes than that.
func prefixOf(lo, hi []byte) (netip.Prefix, bool) {
	size := 4
	if len(lo) > 4 {
		size = 16
	}
	a, b := make([]byte, size), slices.Repeat([]byte{0xff}, size)
	copy(a, lo)
	copy(b, hi)
	first, _ := netip.AddrFromSlice(a)
	same := 0
	for i := range a {
		n := bits.LeadingZeros8(a[i] ^ b[i])
		same += n
		if n < 8 {
			break
		}
	}
	p := netip.PrefixFrom(first, same)
	last := slices.Clone(a)
	for i := same; i < size*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return p, p.Masked().Addr() == first && slices.Equal(last, b)
}
