// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"net/netip"
	"slices"

	"ktrace/decoder/packet"
)

// About is what a finding is about, for programs and for the rules that compare findings: text is for people.
type About struct {
	Proto   string           // of the traffic, "" if it is not about any or about several
	Clients []netip.Addr     // who asked, before and after translation
	Servers []netip.AddrPort // who was asked, before and after translation; port 0 is the whole address
	Netns   uint32           // where the cause is, 0 if unknown
	Iface   string
	Tunnel  bool       // Iface is a tunnel's device: who is asked is at its other end
	Others  []uint32   // namespaces that the evidence names beside Netns
	Rule    FilterRule // that did it, zero if none or unknown
	Process Process    // that did it, zero if none or unknown

	attempt Attempt
}

// FilterRule names a rule of a packet filter, or the policy of one of its chains.
type FilterRule struct {
	System string `json:"system"` // iptables-legacy, iptables-nft, nftables
	Family string `json:"family"` // ip, ip6, inet, ...; of iptables ipv4, ipv6
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Number int    `json:"number,omitempty"` // position in the chain, from 1; 0 is the chain's policy
	Handle uint64 `json:"handle,omitempty"` // of nftables
	Text   string `json:"text,omitempty"`   // as iptables-save or nft list prints it
}

// maxEnds is how many clients, and how many servers, an About keeps.
const maxEnds = 64

// AboutEvent is what an event is about: the flow of its packet, before and after translation, with what a tunnel carries
// or an ICMP error quotes in place of the packet itself; and where it was.
func AboutEvent(e Event) About {
	a := About{Netns: e.Netns, Iface: e.Iface, attempt: e.attempt()}
	if e.PID != 0 {
		a.Process = Process{e.PID, e.TID, e.Comm}
	}
	a.packet(e.Packet, e.Conntrack())
	switch b := e.Body.(type) {
	case DNS:
		a.query(b)
	case NAT:
		a.ask(b.Original.Src, b.Original.Dst)
		a.ask(b.Reply.Dst, b.Backend)
	case Reset:
		a.reset(b)
	case Flow:
		if b.TCP != nil {
			a.Clients, a.Servers = nil, nil
			a.ask(b.Client(e.Packet), b.Server)
			break
		}
		a.connect(b)
	case Sock:
		a.packet(b.Trigger, nil)
		if e.Packet == nil && b.Local.IsValid() {
			a.ask(b.Remote, b.Local)
			a.Proto = b.Proto
		}
	}
	return a
}

// Asks adds traffic: a client's to a server. Either may be unknown.
func (a *About) Asks(client netip.Addr, server netip.AddrPort) {
	if client.IsValid() && !client.IsUnspecified() && len(a.Clients) < maxEnds && !slices.Contains(a.Clients, client) {
		a.Clients = append(a.Clients, client)
	}
	if server.IsValid() && len(a.Servers) < maxEnds && !slices.Contains(a.Servers, server) {
		a.Servers = append(a.Servers, server)
	}
}

func (a *About) ask(client, server netip.AddrPort) { a.Asks(client.Addr(), server) }

// packet adds the flow of a packet.
func (a *About) packet(p *packet.Packet, c *Conntrack) {
	if p == nil {
		return
	}
	if a.Proto == "" {
		a.Proto = p.Proto
	}
	inner := p.Innermost()
	if quoted := inner.Quoted(); quoted != nil {
		inner = quoted.Innermost()
	}
	if inner != p {
		a.Proto = inner.Proto
		a.flow(inner)
		if p.Tunnel == nil {
			return // no client asks a router for its error
		}
	}
	if c != nil {
		a.ask(c.Original.Src, c.Original.Dst)
		a.ask(c.Reply.Dst, c.Reply.Src)
		return
	}
	a.flow(p)
}

// flow adds the two ends of a packet; both as either where it is not known who asks.
func (a *About) flow(p *packet.Packet) {
	asks, answers := p.RequestOrReply()
	if asks || !answers {
		a.ask(p.Source(), p.Destination())
	}
	if answers || !asks {
		a.ask(p.Destination(), p.Source())
	}
}

// query adds whom a query went to, by every address on its way, and where it and its answer were seen.
func (a *About) query(d DNS) {
	a.Proto = d.Transport
	a.Asks(netip.Addr{}, d.Server)
	a.Asks(netip.Addr{}, d.Backend)
	ends := []*Sight{d.Last, d.AnswerLast}
	if d.Drop != nil {
		ends = append(ends, &d.Drop.Sight)
	}
	if d.ICMP != nil {
		a.At(d.ICMP.Netns)
	}
	a.way(ends, d.Hops)
}

// connect adds whom a connection was for, by every address on its way, and where it was seen.
func (a *About) connect(f Flow) {
	a.Proto = "tcp"
	a.Asks(netip.Addr{}, f.Server)
	a.Asks(netip.Addr{}, f.Backend)
	a.way([]*Sight{f.Last, f.AnswerLast}, f.Hops)
}

// way adds the places where a request was seen last, and those on its way.
func (a *About) way(ends []*Sight, hops []Sight) {
	for _, s := range ends {
		if s != nil {
			a.At(s.Netns)
			a.seen(*s)
		}
	}
	for _, s := range hops {
		a.seen(s)
	}
}

// seen adds the ends of a query; the source of an answer may be any host's.
func (a *About) seen(s Sight) {
	if !s.Answer {
		a.ask(s.Flow.Src, s.Flow.Dst)
	}
}

// At adds a namespace that the evidence names.
func (a *About) At(netns uint32) {
	switch {
	case netns == 0 || slices.Contains(a.Others, netns):
	case a.Netns == 0:
		a.Netns = netns
	case a.Netns != netns:
		a.Others = append(a.Others, netns)
	}
}

// reset adds the connection of a reset as both ends know it.
func (a *About) reset(r Reset) {
	first := &packet.Packet{Src: r.Connection.Src.Addr(), Sport: r.Connection.Src.Port(), Dst: r.Connection.Dst.Addr(), Dport: r.Connection.Dst.Port()}
	switch {
	case r.Cause == ResetRefused && r.Refused == nil: // the server's answer to a SYN
		a.Clients, a.Servers = nil, nil
		a.ask(r.Connection.Dst, r.Connection.Src)
	case r.Server == r.Connection.Src && r.Server.IsValid():
		a.Clients, a.Servers = nil, nil
		a.ask(r.Connection.Dst, r.Server)
	case r.Server.IsValid():
		a.Clients, a.Servers = nil, nil
		a.ask(r.Connection.Src, r.Server)
	default:
		a.flow(first)
	}
	a.Asks(netip.Addr{}, r.Backend)
	a.ask(r.Original.Src, r.Original.Dst)
	a.At(r.DropAt.Netns)
	for _, p := range []*packet.Packet{r.Dropped, r.Refused} {
		a.packet(p, nil)
	}
	if r.Sent != nil {
		a.packet(r.Sent.Trigger, nil)
	}
	if r.Drop != nil && r.Drop.Conntrack != nil {
		a.packet(r.Dropped, r.Drop.Conntrack)
	}
}

// Merge adds what another is about. Where they differ in what can be only one the first stays, but for the protocol:
// several are none.
func (a *About) Merge(b About) {
	if len(a.Servers)+len(a.Clients) == 0 {
		a.Proto = b.Proto
	} else if len(b.Servers)+len(b.Clients) > 0 && a.Proto != b.Proto {
		a.Proto = ""
	}
	for _, c := range b.Clients {
		a.Asks(c, netip.AddrPort{})
	}
	for _, s := range b.Servers {
		a.Asks(netip.Addr{}, s)
	}
	if a.Netns == 0 {
		a.Netns, a.Iface, a.Tunnel = b.Netns, b.Iface, b.Tunnel
	}
	for _, n := range append([]uint32{b.Netns}, b.Others...) {
		a.At(n)
	}
	if a.Rule == (FilterRule{}) {
		a.Rule = b.Rule
	}
	if b.attempt.Level > a.attempt.Level {
		a.attempt = b.attempt
	}
	if a.Process == (Process{}) {
		a.Process = b.Process
	}
}

// Addrs are all addresses, once each.
func (a About) Addrs() []netip.Addr {
	all := slices.Clone(a.Clients)
	for _, s := range a.Servers {
		if !slices.Contains(all, s.Addr()) {
			all = append(all, s.Addr())
		}
	}
	return all
}

// local reports whether the servers are known by addresses that are others' in another namespace, so that these do
// not distinguish them.
func (a About) local() bool {
	return len(a.Servers) > 0 && !slices.ContainsFunc(a.Servers, func(s netip.AddrPort) bool {
		return !s.Addr().IsLoopback() && !s.Addr().IsUnspecified()
	})
}

// MarshalJSON implements json.Marshaler.
func (a About) MarshalJSON() ([]byte, error) {
	servers := make([]string, 0, len(a.Servers))
	for _, s := range a.Servers {
		servers = append(servers, packet.FormatAddrPort(s))
	}
	return json.Marshal(struct {
		Proto   string       `json:"proto,omitempty"`
		Addrs   []netip.Addr `json:"addrs"`
		Clients []netip.Addr `json:"clients"`
		Servers []string     `json:"servers"`
		Netns   uint32       `json:"netns,omitempty"`
		Iface   string       `json:"iface,omitempty"`
		Tunnel  bool         `json:"tunnel,omitempty"`
		Rule    FilterRule   `json:"rule,omitzero"`
		Process Process      `json:"process,omitzero"`
	}{a.Proto, orEmpty(a.Addrs()), orEmpty(a.Clients), servers, a.Netns, a.Iface, a.Tunnel, a.Rule, a.Process})
}

// orEmpty is a list that JSON has as one even if there is nothing in it.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
