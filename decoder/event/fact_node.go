// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/packet"
)

// LookupKey is what a fact was looked up for: a kind of packet at a place. It is comparable: facts about an event are kept by
// KeyOf, and one replaces the former with the same key.
type LookupKey struct {
	Netns   uint32         `json:"netns"`
	Ifindex uint32         `json:"ifindex,omitempty"`
	Proto   string         `json:"proto,omitempty"`
	Src     netip.AddrPort `json:"src"` // the port is 0 where it is ephemeral, as every connection has another
	Dst     netip.AddrPort `json:"dst"`
}

// KeyOf returns the key of what is looked up for an event; without a packet it is about the namespace and the device.
func KeyOf(e Event) LookupKey {
	q := LookupKey{Netns: e.Netns, Ifindex: e.Ifindex}
	if p := e.Packet; p != nil {
		q.Proto, q.Src, q.Dst = p.Proto, p.Source(), p.Destination()
		switch {
		case p.Sport >= packet.FirstEphemeral && p.Dport < p.Sport:
			q.Src = netip.AddrPortFrom(p.Src, 0)
		case p.Dport >= packet.FirstEphemeral && p.Sport < p.Dport:
			q.Dst = netip.AddrPortFrom(p.Dst, 0)
		}
	}
	return q
}

// Owner is on whose account what is kept under the key is: the sender's, at that place.
func (q LookupKey) Owner() bounded.Owner { return bounded.Owner{Netns: q.Netns, Addr: q.Src.Addr()} }

// OwnerOf is on whose account what an event's packet fills is: its sender's, where it was seen.
func OwnerOf(e Event) bounded.Owner {
	o := bounded.Owner{Netns: e.Netns}
	if e.Packet != nil {
		o.Addr = e.Packet.Src
	}
	return o
}

// OwnerAt is on whose account an event is: the namespace's where it was, or in a capture the sender's.
func OwnerAt(e Event) bounded.Owner {
	if e.Netns != 0 {
		return bounded.Owner{Netns: e.Netns}
	}
	return bounded.Owner{Addr: e.Packet.Src}
}

// At is the same key for the packet at another place.
func (q LookupKey) At(netns, ifindex uint32) LookupKey {
	q.Netns, q.Ifindex = netns, ifindex
	return q
}

// LookupFailed names facts that could not be read, and why. Their absence says nothing.
type LookupFailed struct {
	Netns uint32 `json:"netns"`
	What  string `json:"what"` // namespace, rules, services, sysctl, route, conntrack, netstat, sockets
	Why   string `json:"why"`
}

// Deferred says that what explains an event is looked up later, for lookups take their share of time already,
// and, when all of it was looked up, that this is over. What depends on the result waits until then.
type Deferred struct {
	About LookupKey `json:"about"`
	Over  bool      `json:"over,omitempty"`
}

// DeferredLongest is how long a result is waited for at most.
const DeferredLongest = 4 * time.Second

// DeferredLookups are the lookups without a result yet.
type DeferredLookups map[LookupKey]bool

const maxDeferred = 4096 // an enricher has far fewer at a time

// Learn takes in a fact.
func (all DeferredLookups) Learn(f Fact) {
	switch p := f.Deferred; {
	case p == nil:
	case p.Over:
		delete(all, p.About)
	case len(all) < maxDeferred:
		all[p.About] = true
	}
}

// Pending is whether a packet seen so long ago has answers to come.
func (all DeferredLookups) Pending(e Event, age time.Duration) bool {
	return age < DeferredLongest && all[KeyOf(e)]
}

// ChainFact is a chain that packets enter at a hook, whatever rules it has.
type ChainFact struct {
	Netns    uint32 `json:"netns"`
	System   string `json:"system"` // iptables-legacy, iptables-nft, nftables: the tool that shows it
	Family   string `json:"family"` // ipv4, ipv6, inet, arp, bridge, netdev
	Table    string `json:"table"`
	Chain    string `json:"chain"`
	Hook     string `json:"hook"` // prerouting, input, forward, output, postrouting, ingress, egress
	Priority int32  `json:"priority"`
	Policy   string `json:"policy,omitempty"` // accept, drop
	Rules    int    `json:"rules"`            // in the chain itself
}

// RuleFact is a rule of a packet filter, or the policy of one of its chains.
type RuleFact struct {
	System  string `json:"system,omitempty"` // as in ChainFact; "" if no more than the hook is known
	Family  string `json:"family"`
	Table   string `json:"table,omitempty"`
	Chain   string `json:"chain,omitempty"`
	Hook    string `json:"hook"`             // where the packets came in that got here
	Number  int    `json:"number,omitempty"` // position in the chain, from 1; 0 is the chain's policy
	Handle  uint64 `json:"handle,omitempty"` // of nftables
	Text    string `json:"text,omitempty"`   // as iptables-save or nft list prints it
	Verdict string `json:"verdict"`          // drop, reject
	Reject  string `json:"reject,omitempty"` // what a reject answers: tcp-reset, icmp-port-unreachable, ...
	Packets uint64 `json:"packets"`          // valid iff Counted
	Bytes   uint64 `json:"bytes"`
	Counted bool   `json:"counted"`

	// Asked are, of a rule of a chain that is jumped to, the comments of what the packet was given to in that chain before:
	// of the rules that jump, and of the first of the chains that they jump to. At most 8.
	Asked []string `json:"asked,omitempty"`
	// Heads are the comments that are about the whole of such a chain: of the rules that lead there, at most 8, and of the
	// chain's first rule.
	Heads []string `json:"heads,omitempty"`
}

// Candidate is a rule that may have dropped a packet.
type Candidate struct {
	RuleFact
	Fit  string `json:"fit"`  // yes: every match is known to fit; maybe: some cannot be decided from the packet
	Rose uint64 `json:"rose"` // packets counted between the two readings; valid iff Counted and DropRules.Compared
}

// DropRules says which rules may have dropped the packets of a key. No candidates, and nothing unread, means that
// no rule did: conntrack, or another user of the hooks.
type DropRules struct {
	About      LookupKey   `json:"about"`
	Hooks      []string    `json:"hooks"`                // where the packet may have been
	Drops      uint64      `json:"drops"`                // seen in the namespace between the two readings
	Compared   bool        `json:"compared"`             // there was a reading before these drops
	Candidates []Candidate `json:"suspects,omitempty"`   // best first, at most 8
	More       int         `json:"more,omitempty"`       // candidates that are not listed
	Confidence Confidence  `json:"confidence,omitempty"` // that it was the first of them
	Incomplete string      `json:"incomplete,omitempty"` // why not every rule could be looked at
}

// At is what is left of the candidates when the hook is known; "" leaves all. A rule that is left alone was it, as
// sure as it is for the packet.
func (b DropRules) At(hook string) DropRules {
	if hook == "" || len(b.Hooks) == 0 {
		return b
	}
	all := b.Candidates
	b.Hooks, b.Candidates = []string{hook}, nil
	for _, s := range all {
		if s.Hook == hook {
			b.Candidates = append(b.Candidates, s)
		}
	}
	if b.Confidence == Possible && len(b.Candidates) == 1 && len(all) > 1 && b.More == 0 && b.Incomplete == "" {
		s := b.Candidates[0]
		if counts := s.Counted && b.Compared; s.Fit == "yes" && !counts || counts && s.Rose > 0 {
			b.Confidence = Likely
		}
	}
	return b
}

// ServiceFact is a Kubernetes service as one source knows it. A later fact of the same source and name replaces it.
type ServiceFact struct {
	Namespace string        `json:"namespace,omitempty"`
	Name      string        `json:"name,omitempty"`
	Source    string        `json:"source"`             // api, iptables, nftables, ipvs, resolv, env, cidr
	System    string        `json:"system,omitempty"`   // of rules: as in ChainFact; several may be at work
	Netns     uint32        `json:"netns,omitempty"`    // where the rules are; 0 if the source is none of the node's
	Addrs     []netip.Addr  `json:"addrs,omitempty"`    // cluster addresses
	External  []netip.Addr  `json:"external,omitempty"` // external addresses, and those of load balancers
	CIDR      netip.Prefix  `json:"cidr,omitzero"`      // any address in it is a service's
	Ports     []ServicePort `json:"ports,omitempty"`
	Gone      bool          `json:"gone,omitempty"`
}

// ServicePort is one port of a service and who serves it.
type ServicePort struct {
	Name       string           `json:"name,omitempty"`
	Proto      string           `json:"proto"` // tcp, udp, sctp
	Port       uint16           `json:"port"`
	TargetPort string           `json:"target_port,omitempty"` // number or name
	Endpoints  []netip.AddrPort `json:"endpoints,omitempty"`   // valid iff Known
	Ending     []netip.AddrPort `json:"ending,omitempty"`      // that still serve what they began, and new flows if none else does
	Known      bool             `json:"known,omitempty"`       // the source knows the endpoints, be there none
}

// States of a node's rules for a service address.
const (
	ServicePresent     = "present"            // a rule translates it
	ServiceNoEndpoints = "no-endpoints"       // a rule refuses it: the service has none
	ServiceNoLocal     = "no-local-endpoints" // a rule drops it: the service has none on this node, and a policy wants one
	ServiceMissing     = "missing"            // there are rules for services, but none for this address and port
	ServiceNone        = "none"               // no rules for services at all: kube-proxy never wrote here
)

// ServiceRules is the state of the rules of one namespace for one address.
type ServiceRules struct {
	Netns     uint32           `json:"netns"`
	Proto     string           `json:"proto"`
	Addr      netip.AddrPort   `json:"addr"`
	State     string           `json:"state"`
	Source    string           `json:"source,omitempty"`  // iptables, nftables
	Service   string           `json:"service,omitempty"` // ns/name:port, as far as the rules say it
	Endpoints []netip.AddrPort `json:"endpoints,omitempty"`
	Rule      string           `json:"rule,omitempty"`      // the rule that decides, in words of its tool
	Hooks     []string         `json:"hooks,omitempty"`     // at which a rule translates it: prerouting, output
	NodePort  string           `json:"node_port,omitempty"` // the service, ns/name:port, that has the port on every node's address
	Untracked string           `json:"untracked,omitempty"` // a rule that keeps packets to it from conntrack
	Services  int              `json:"services"`            // addresses and ports that these rules know
	Searched  []string         `json:"searched,omitempty"`  // tables looked at
}

// Sysctl is a setting of the kernel in one namespace.
type Sysctl struct {
	Netns uint32 `json:"netns"`
	Key   string `json:"key"` // as sysctl(8) prints it: net.ipv4.ip_forward
	Value string `json:"value"`
}

// Route is what the kernel answers when asked for a way.
type Route struct {
	About   LookupKey  `json:"about"`
	Reverse bool       `json:"reverse,omitempty"` // asked for the way back to the source: what rp_filter looks at
	Dst     netip.Addr `json:"dst"`
	Src     netip.Addr `json:"src,omitzero"`      // that was asked with, zero if none was
	In      string     `json:"in,omitempty"`      // the device it came in by, "" if sent from here
	Errno   string     `json:"errno,omitempty"`   // no way: ENETUNREACH, EHOSTUNREACH, EACCES; EXDEV or EINVAL: the source or the destination is not believed
	Type    string     `json:"type,omitempty"`    // unicast, local, broadcast, multicast, blackhole, unreachable, prohibit
	Table   uint32     `json:"table,omitempty"`   // 254 is main, 255 local
	Gateway netip.Addr `json:"gateway,omitzero"`  // zero: on the link
	Out     string     `json:"out,omitempty"`     // device
	Prefsrc netip.Addr `json:"prefsrc,omitzero"`  // source address for what is sent from here
	MTU     uint32     `json:"mtu,omitempty"`     // of the route, if it has one of its own: locked or learnt
	Link    uint32     `json:"link_mtu,omitzero"` // of the device
}

// Neighbour is a line of the neighbour table.
type Neighbour struct {
	Netns uint32     `json:"netns"`
	Iface string     `json:"iface"`
	Addr  netip.Addr `json:"addr"`
	State string     `json:"state"`           // as ip neigh prints it: reachable, stale, failed, incomplete, ...; none: no line
	MAC   string     `json:"lladdr,omitzero"` // "" if none is known

	NoCarrier bool `json:"no_carrier,omitempty"` // the device has none, or is down: there is no neighbour on it
}

// ConntrackStats are conntrack's counters of one namespace, summed over CPUs.
type ConntrackStats struct {
	Netns uint32            `json:"netns"`
	Count uint64            `json:"count"` // entries
	Max   uint64            `json:"max"`
	Total ConntrackCounters `json:"total"`
	Rose  ConntrackCounters `json:"rose"` // since the reading before, or since the first
}

// ConntrackCounters are what conntrack -S prints.
type ConntrackCounters struct {
	Found         uint64 `json:"found"`
	Invalid       uint64 `json:"invalid"`
	Insert        uint64 `json:"insert"`
	InsertFailed  uint64 `json:"insert_failed"` // lost a race against another packet of the same flow
	Drop          uint64 `json:"drop"`          // table full, or no memory
	EarlyDrop     uint64 `json:"early_drop"`    // made room by forgetting another
	Error         uint64 `json:"error"`
	SearchRestart uint64 `json:"search_restart"`
	ClashResolve  uint64 `json:"clash_resolve"` // raced, but both packets went on (kernel 5.10)
	ChainTooLong  uint64 `json:"chaintoolong"`  // kernel 5.15
}

// Minus is how much c rose since before.
func (c ConntrackCounters) Minus(before ConntrackCounters) ConntrackCounters {
	return ConntrackCounters{
		Found:         c.Found - before.Found,
		Invalid:       c.Invalid - before.Invalid,
		Insert:        c.Insert - before.Insert,
		InsertFailed:  c.InsertFailed - before.InsertFailed,
		Drop:          c.Drop - before.Drop,
		EarlyDrop:     c.EarlyDrop - before.EarlyDrop,
		Error:         c.Error - before.Error,
		SearchRestart: c.SearchRestart - before.SearchRestart,
		ClashResolve:  c.ClashResolve - before.ClashResolve,
		ChainTooLong:  c.ChainTooLong - before.ChainTooLong,
	}
}

// PortUse is how many of the ports are taken that a packet may get as its source by translation. Towards one server each
// connection needs one of its own.
type PortUse struct {
	About  LookupKey      `json:"about"`
	Server netip.AddrPort `json:"server"` // after translation
	Source netip.Addr     `json:"source"` // after translation
	Low    uint16         `json:"low"`
	High   uint16         `json:"high"` // the last of them
	Used   int            `json:"used"`
	Rule   *RuleFact      `json:"rule,omitempty"` // that translates it, nil if it is not known
}

// Size is how many there are.
func (u PortUse) Size() int { return int(u.High) - int(u.Low) + 1 }

// Tracking is why conntrack does not know the flow of a packet that netfilter dropped: rules keep one direction of it from
// conntrack, or put the two into different zones.
type Tracking struct {
	About  LookupKey `json:"about"`
	Rule   *RuleFact `json:"rule"`             // that does so
	Of     string    `json:"of"`               // packet, other-direction, quoted: what the rule is for
	Zone   *uint16   `json:"zone,omitempty"`   // that it puts it into; nil: it keeps it from conntrack
	Passes string    `json:"passes,omitempty"` // as what conntrack would have let it pass: NEW, ESTABLISHED, RELATED; "" if not
}

// Does is what the rule does, in words.
func (t Tracking) Does() string {
	what := map[string]string{TrackedPacket: "them", TrackedOther: "their flow's other direction", TrackedQuoted: "the flow that they are about"}[t.Of]
	if t.Zone == nil {
		return fmt.Sprintf("keeps %s from connection tracking", what)
	}
	return fmt.Sprintf("puts %s into connection tracking's zone %d and not the other direction", what, *t.Zone)
}

// What the rule of a Tracking may be for.
const (
	TrackedPacket = "packet"
	TrackedOther  = "other-direction"
	TrackedQuoted = "quoted"
)

// Netstat is what rose of the protocols' counters of one namespace since the reading before, or since the first.
type Netstat struct {
	Netns uint32            `json:"netns"`
	Rose  map[string]uint64 `json:"rose"` // TcpExtListenOverflows, as nstat names them; what did not rise is missing
}

// Tracked is the answer to the question whether conntrack has an entry for a flow.
type Tracked struct {
	Netns    uint32           `json:"netns"`
	Proto    string           `json:"proto"`
	Asked    packet.FlowTuple `json:"asked"`
	Found    bool             `json:"found"`
	Original packet.FlowTuple `json:"original,omitzero"`
	Reply    packet.FlowTuple `json:"reply,omitzero"`      // its Src is the backend, if the flow is translated
	Status   []string         `json:"status,omitempty"`    // seen-reply, assured, confirmed, src-nat, dst-nat, dying, ...
	State    string           `json:"state,omitempty"`     // of TCP: SYN_SENT, ESTABLISHED, ...
	Timeout  time.Duration    `json:"timeout_ns,omitzero"` // until it is forgotten
	Mark     uint32           `json:"mark,omitempty"`
}

// Socket is a socket that an event's packet is or should be for.
type Socket struct {
	About LookupKey      `json:"about"`
	Found bool           `json:"found"` // false: nothing listens there
	Local netip.AddrPort `json:"local,omitzero"`
	State string         `json:"state,omitempty"` // LISTEN, ESTAB, UNCONN, ... as ss names them
	Queue uint32         `json:"queue,omitempty"` // of a listener: connections waiting to be accepted; else bytes to be read
	Limit uint32         `json:"limit,omitempty"` // of a listener: its backlog; else its receive buffer, bytes
	Drops uint32         `json:"drops,omitempty"` // packets that the socket refused (UDP)
	Inode uint32         `json:"inode,omitempty"`
	UID   uint32         `json:"uid,omitempty"`
	PID   uint32         `json:"pid,omitempty"` // owner, 0 if it was not found
	Comm  string         `json:"comm,omitempty"`
}
