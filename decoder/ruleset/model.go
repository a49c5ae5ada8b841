// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// System is the tool that shows a rule.
type System string

// Systems.
const (
	Legacy      System = "iptables-legacy"
	IptablesNFT System = "iptables-nft"
	NFTables    System = "nftables"
)

// Family is a protocol family by the kernel's number (NFPROTO_*).
type Family uint8

// Families.
const (
	Inet   Family = 1
	IPv4   Family = 2
	ARP    Family = 3
	Netdev Family = 5
	Bridge Family = 7
	IPv6   Family = 10
)

// String is the family's name in facts.
func (f Family) String() string {
	if name, ok := map[Family]string{Inet: "inet", IPv4: "ipv4", ARP: "arp", Netdev: "netdev", Bridge: "bridge", IPv6: "ipv6"}[f]; ok {
		return name
	}
	return unknown(uint64(f))
}

// nft is the family's name in nft's language.
func (f Family) nft() string {
	switch f {
	case IPv4:
		return "ip"
	case IPv6:
		return "ip6"
	}
	return f.String()
}

// Hook is a place in the kernel where packets pass rules (NF_INET_*).
type Hook uint8

// Hooks; NoHook is that of a chain that is only jumped to.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
	Ingress
	Egress      // of devices only, where it is number 1
	NoHook Hook = 0xff
)

// String is the hook's name.
func (h Hook) String() string {
	names := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress", "egress"}
	if int(h) < len(names) {
		return names[h]
	}
	return ""
}

// Ruleset is all that was read of one network namespace.
type Ruleset struct {
	Tables []*Table
	Unread []string // what could not be read, and why

	// Generation is nftables' number of the state that was read; it changes with every change of rules or sets, not
	// with what they count. 0 is none.
	Generation uint32
}

// Table is a set of chains.
type Table struct {
	System System
	Family Family
	Name   string
	Chains []*Chain
	Sets   map[string]*Set

	chains map[string]*Chain
	judged bool // its system was determined
}

// Chain returns the chain of that name, nil if there is none.
func (t *Table) Chain(name string) *Chain { return t.chains[name] }

// add takes a chain in; one of a name that is there already is given back instead.
func (t *Table) add(name string) *Chain {
	if c := t.chains[name]; c != nil {
		return c
	}
	c := &Chain{Table: t, Name: name, Hook: NoHook}
	if t.chains == nil {
		t.chains = map[string]*Chain{}
	}
	t.chains[name] = c
	t.Chains = append(t.Chains, c)
	return c
}

// Chain is a list of rules.
type Chain struct {
	Table    *Table
	Name     string
	Type     string // of a base chain: filter, nat, route
	Hook     Hook
	Priority int32
	Policy   Verdict // valid iff Hook != NoHook
	Counter  Counter // of the policy
	Rules    []Rule
}

// Counter counts the packets that a rule matched.
type Counter struct {
	Packets, Bytes uint64
	Counted        bool // nftables counts only where a rule says so
}

// Rule is a list of matches, and what becomes of a packet that fits them all.
type Rule struct {
	Number  int    // position in its chain, from 1
	Handle  uint64 // nftables only
	Matches []Match
	Verdict Verdict
	Zone    Zone // that a statement of nftables puts packets into
	Counter Counter
}

// Zone is one of conntrack's, within which flows are known. The one without a number is 0.
type Zone struct {
	Set bool // a rule names it
	ID  uint16
}

// zone is the zone that the rule puts packets of both directions into.
func (r *Rule) zone() Zone {
	if r.Zone.Set {
		return r.Zone
	}
	return r.Verdict.Zone
}

// Comment is what its writer said of the rule.
func (r *Rule) Comment() string {
	for _, m := range r.Matches {
		if m.Field == Comment {
			return m.Text
		}
	}
	return ""
}

// untracks reports whether the rule keeps packets from conntrack.
func (r *Rule) untracks() bool {
	return r.Verdict.Target == untrackTarget || r.Verdict.Target == "NOTRACK" || slices.ContainsFunc(r.Matches, func(m Match) bool { return m.Field == Always && m.Text == untrackStatement })
}

// How iptables and nft say so.
const (
	untrackTarget    = "CT --notrack"
	untrackStatement = "notrack"
)

// Action is what becomes of a packet.
type Action uint8

// Actions. Next goes on with the next rule; Elsewhere leaves the chain for good without being dropped here (NAT,
// queues); Obscure may do either; Proxy gives the packet to a program, and drops it where none listens.
const (
	Next Action = iota
	Accept
	Drop
	Reject
	Return
	Jump
	Goto
	Elsewhere
	Obscure
	Proxy
	Lookup // as the element of Verdict.Map says
)

// String is the action's name as far as policies and facts need it.
func (a Action) String() string {
	switch a {
	case Accept:
		return "accept"
	case Drop:
		return "drop"
	case Reject:
		return "reject"
	}
	return ""
}

// Verdict is an action with its object.
type Verdict struct {
	Action Action
	Chain  string // of Jump and Goto
	Answer string // of Reject: as iptables names it
	Target string // as the tool prints it: DNAT --to-destination 10.0.0.1:53
	NewDst bool   // it changes the destination
	NewSrc bool   // it changes the source
	Ports  Ports  // that it changes the destination's or source's to, zero if the rule has none
	DNAT   string // address and port that the destination becomes, "" if they are no constants of the rule
	Zone   Zone   // of iptables' CT
	Map    *Match // of Lookup
}

// Ports are from Lo to Hi, both inside.
type Ports struct{ Lo, Hi uint16 }

// Set is a set or map of nftables.
type Set struct {
	Name     string
	Table    string
	Family   Family
	Loaded   bool // the elements were read
	Interval bool
	IsMap    bool
	KeyType  uint32
	Elements []Element
}

// Element is one element of a set, from Lo to Hi, both inside.
type Element struct {
	Lo, Hi  []byte
	Verdict *Verdict // of a verdict map
	Data    []byte   // of another map
	Comment string
}

// order puts the chains of a hook into the order in which packets meet them.
func order(chains []*Chain) {
	slices.SortStableFunc(chains, func(a, b *Chain) int { return cmp.Compare(a.Priority, b.Priority) })
}

// At returns the chains that a packet of the family enters at a hook, in order.
func (rs *Ruleset) At(h Hook, f Family) []*Chain {
	var found []*Chain
	for _, t := range rs.Tables {
		if t.Family != f && (t.Family != Inet || (f != IPv4 && f != IPv6)) {
			continue
		}
		for _, c := range t.Chains {
			if c.Hook == h {
				found = append(found, c)
			}
		}
	}
	order(found)
	return found
}

func unknown(n uint64) string { return "unknown(0x" + strconv.FormatUint(n, 16) + ")" }

// NameIPSets puts the names of ipsets where iptables' rules have only their numbers. A set without a name keeps its number.
func (rs *Ruleset) NameIPSets(name func(index uint16) string) {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for i := range c.Rules {
				c.Rules[i].nameIPSets(name)
			}
		}
	}
}

func (r *Rule) nameIPSets(name func(index uint16) string) {
	for i := range r.Matches {
		m := &r.Matches[i]
		rest, ok := strings.CutPrefix(m.Text, ipsetOption+" #")
		if m.Module != "set" || !ok {
			continue
		}
		number, dirs, _ := strings.Cut(rest, " ")
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && name(uint16(n)) != "" {
			m.Text = ipsetOption + " " + name(uint16(n)) + " " + dirs
		}
	}
}

// ipsetOption is the option of iptables' module set.
const ipsetOption = "--match-set"
