// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"slices"
	"strings"
)

// nfgenmsgSize is the size of struct nfgenmsg, which precedes the attributes of every message; its first byte is
// the family.
const nfgenmsgSize = 4

// NFT gathers the messages by which nftables describes its rules: tables are made of the chains that are in them.
// The methods take the payload of one netlink message each and pass over what they do not understand.
type NFT struct {
	run    map[string]func(*machine, []byte)
	tables map[nftKey]*Table
	order  []*Table
	last   *Chain

	scratch []Match // that the next rule's are gathered in
}

type nftKey struct {
	family Family
	table  string
}

// Empty reports whether nothing was gathered.
func (n *NFT) Empty() bool { return len(n.order) == 0 }

// Tables returns what was gathered.
func (n *NFT) Tables() []*Table {
	for _, t := range n.order {
		t.judge()
	}
	return n.order
}

// judge determines the system of a table, once its chains are known.
func (t *Table) judge() {
	if !t.judged && managed(t) {
		t.System = IptablesNFT
	}
	t.judged = true
}

// managed is whether the table is iptables-nft's: it has its name and base chains, and no others.
func managed(t *Table) bool {
	if (t.Family != IPv4 && t.Family != IPv6) || !slices.Contains([]string{"filter", "nat", "mangle", "raw", "security"}, t.Name) {
		return false
	}
	for _, c := range t.Chains {
		if c.Hook != NoHook && (int(c.Hook) > 4 || c.Name != legacyHookName(c.Hook)) {
			return false
		}
	}
	return len(t.Chains) > 0
}

func (n *NFT) table(f Family, name string) *Table {
	k := nftKey{family: f, table: name}
	if t := n.tables[k]; t != nil {
		return t
	}
	if n.tables == nil {
		n.tables = map[nftKey]*Table{}
	}
	t := &Table{System: NFTables, Family: f, Name: name, Sets: map[string]*Set{}}
	n.tables[k] = t
	n.order = append(n.order, t)
	return t
}

// chain finds a rule's chain. Rules come chain by chain, so it is the one of the rule before as a rule.
func (n *NFT) chain(f Family, table, name []byte) *Chain {
	if c := n.last; c != nil && c.Table.Family == f && c.Table.Name == string(table) && c.Name == string(name) {
		return c
	}
	n.last = n.table(f, string(table)).add(string(name))
	return n.last
}

// Table takes NFT_MSG_NEWTABLE.
func (n *NFT) Table(msg []byte) {
	if len(msg) < nfgenmsgSize {
		return
	}
	n.table(Family(msg[0]), cString(attrMap(msg[nfgenmsgSize:])[1]))
}

// Chain takes NFT_MSG_NEWCHAIN.
func (n *NFT) Chain(msg []byte) {
	const table, name, hook, policy, kind, counters = 1, 3, 4, 5, 7, 8
	if len(msg) < nfgenmsgSize {
		return
	}
	a := attrMap(msg[nfgenmsgSize:])
	c := n.table(Family(msg[0]), cString(a[table])).add(cString(a[name]))
	if a[hook] == nil {
		return
	}
	h := attrMap(a[hook])
	c.Type, c.Priority = cString(a[kind]), int32(be32(h[2]))
	if num := be32(h[1]); num < uint32(NoHook) {
		c.Hook = Hook(num)
	}
	if f := c.Table.Family; f == Netdev { // its numbers are its own: ingress, egress
		c.Hook = map[Hook]Hook{0: Ingress, 1: Egress}[c.Hook]
	}
	c.Policy = nfVerdict(be32(a[policy]))
	if a[policy] == nil {
		c.Policy = nfVerdict(1)
	}
	if a[counters] != nil {
		c.Counter = nftCounter(a[counters])
	}
}

// nftCounter reads NFTA_COUNTER_*: bytes, then packets.
func nftCounter(b []byte) Counter {
	a := attrMap(b)
	return Counter{Bytes: be64(a[1]), Packets: be64(a[2]), Counted: true}
}

// Set takes NFT_MSG_NEWSET.
func (n *NFT) Set(msg []byte) {
	const table, name, flags, keyType = 1, 2, 3, 4
	const interval, isMap = 0x4, 0x8
	if len(msg) < nfgenmsgSize {
		return
	}
	a := attrMap(msg[nfgenmsgSize:])
	t := n.table(Family(msg[0]), cString(a[table]))
	s := &Set{Name: cString(a[name]), Table: t.Name, Family: t.Family, KeyType: be32(a[keyType])}
	s.Interval, s.IsMap = be32(a[flags])&interval != 0, be32(a[flags])&isMap != 0
	t.Sets[s.Name] = s
}

// Rule takes NFT_MSG_NEWRULE. The chains of its table and the set that it looks into must have been taken before.
func (n *NFT) Rule(msg []byte) {
	const table, chain, handle, list, userdata = 1, 2, 3, 4, 7
	if len(msg) < nfgenmsgSize {
		return
	}
	a := attrMap(msg[nfgenmsgSize:])
	c := n.chain(Family(msg[0]), beforeNUL(a[table]), beforeNUL(a[chain]))
	c.Table.judge()
	if n.run == nil {
		n.run = expressions()
	}
	r := Rule{Number: len(c.Rules) + 1, Handle: be64(a[handle])}
	r.Matches = n.scratch[:0]
	m := machine{table: c.Table, rule: &r}
	attrs(a[list], func(_ uint16, e []byte) {
		x := attrMap(e)
		if run := n.run[string(beforeNUL(x[1]))]; run != nil {
			run(&m, x[2])
		} else {
			m.match(Match{Field: Other, Text: cString(x[1])})
		}
	})
	m.end()
	if text := nftComment(a[userdata]); text != "" {
		r.Matches = append(r.Matches, Match{Field: Comment, Text: text, Module: "userdata"})
	}
	n.scratch = r.Matches
	r.Matches = slices.Clone(r.Matches)
	c.Rules = append(c.Rules, r)
}

// Recount takes NFT_MSG_NEWRULE of the chain's i-th rule, for its counter. If it is another rule it returns false: then
// all have to be read anew.
func (c *Chain) Recount(i int, msg []byte) bool {
	const handle, list = 3, 4
	if len(msg) < nfgenmsgSize || i >= len(c.Rules) {
		return false
	}
	a := attrMap(msg[nfgenmsgSize:])
	if c.Rules[i].Handle != be64(a[handle]) {
		return false
	}
	attrs(a[list], func(_ uint16, e []byte) {
		if x := attrMap(e); string(beforeNUL(x[1])) == "counter" {
			c.Rules[i].Counter = nftCounter(x[2])
		}
	})
	return true
}

// RecountPolicy takes NFT_MSG_NEWCHAIN of the chain for its policy's counter.
func (c *Chain) RecountPolicy(msg []byte) {
	const counters = 8
	if len(msg) < nfgenmsgSize {
		return
	}
	if a := attrMap(msg[nfgenmsgSize:]); a[counters] != nil {
		c.Counter = nftCounter(a[counters])
	}
}

// nftComment finds the comment among what nft and iptables-nft keep with a rule: type, length, value each.
func nftComment(b []byte) string {
	for len(b) >= 2 && int(b[1])+2 <= len(b) {
		if b[0] == 0 {
			return cString(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// elements are those of one NFT_MSG_NEWSETELEM.
func elements(msg []byte) []rawElement {
	const list = 3
	if len(msg) < nfgenmsgSize {
		return nil
	}
	var found []rawElement
	attrs(attrMap(msg[nfgenmsgSize:])[list], func(_ uint16, e []byte) {
		found = append(found, rawElementOf(e))
	})
	return found
}

// rawElement is an element as it is sent: ranges may come as two.
type rawElement struct {
	key, keyEnd []byte
	end         bool // the first value behind a range
	verdict     *Verdict
	data        []byte
	comment     string
}

func rawElementOf(b []byte) rawElement {
	const key, data, flags, userdata, keyEnd = 1, 2, 3, 6, 10
	a := attrMap(b)
	e := rawElement{key: attrMap(a[key])[1], end: be32(a[flags])&1 != 0, comment: nftComment(a[userdata])}
	if a[keyEnd] != nil {
		e.keyEnd = attrMap(a[keyEnd])[1]
	}
	if d := attrMap(a[data]); d[2] != nil {
		v := nftVerdict(d[2])
		e.verdict = &v
	} else {
		e.data = d[1]
	}
	return e
}

// Load takes all messages NFT_MSG_NEWSETELEM of the set.
func (s *Set) Load(msgs [][]byte) {
	var raw []rawElement
	for _, m := range msgs {
		raw = append(raw, elements(m)...)
	}
	slices.SortStableFunc(raw, func(a, b rawElement) int { return slices.Compare(a.key, b.key) })
	s.Elements = make([]Element, 0, len(raw))
	for i, r := range raw {
		if r.end {
			continue
		}
		e := Element{Lo: r.key, Hi: r.key, Verdict: r.verdict, Data: r.data, Comment: r.comment}
		switch {
		case r.keyEnd != nil:
			e.Hi = r.keyEnd
		case s.Interval && i+1 < len(raw):
			e.Hi = before(raw[i+1].key)
		case s.Interval:
			e.Hi = slices.Repeat([]byte{0xff}, len(r.key))
		}
		s.Elements = append(s.Elements, e)
	}
	s.Loaded = true
}

// before is the number just below, big endian.
func before(b []byte) []byte {
	out := slices.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}

// nftVerdict reads NFTA_VERDICT_*.
func nftVerdict(b []byte) Verdict {
	a := attrMap(b)
	code, chain := int32(be32(a[1])), cString(a[2])
	switch code {
	case -1, -2:
		return Verdict{Target: map[int32]string{-1: "continue", -2: "break"}[code]}
	case -3:
		return Verdict{Action: Jump, Chain: chain, Target: "jump " + chain}
	case -4:
		return Verdict{Action: Goto, Chain: chain, Target: "goto " + chain}
	case -5:
		return Verdict{Action: Return, Target: "return"}
	}
	v := nfVerdict(uint32(code))
	v.Target = strings.ToLower(v.Target)
	return v
}

// String names the set as nft does.
func (s *Set) String() string { return fmt.Sprintf("%s %s %s", s.Family.nft(), s.Table, s.Name) }
