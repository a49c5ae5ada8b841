// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/ruleset"
	"ktrace/tracer/netlink"
)

// SourcePorts returns how many of the ports are in use that SNAT could have given a dropped packet; nothing if the packet
// has no SNAT, or conntrack had confirmed its flow before.
func (o *Reader) SourcePorts(e event.Event) []event.Fact {
	d, ok := e.Body.(event.Drop)
	c := d.Conntrack
	if !ok || !c.SNAT() || c.Confirmed() || c.Original.Src.Port() == 0 {
		return nil
	}
	s, err := o.ruled(e.Netns, at(e))
	if err != nil {
		return unread(e.Netns, "rules", err)
	}
	use := event.PortUse{About: event.KeyOf(e), Server: c.Reply.Src, Source: c.Reply.Dst.Addr()}
	rule, err := s.sourceRule(e, c)
	if err != nil {
		return unread(e.Netns, "rules", err)
	}
	ports := ruleset.SourcePorts(ruleset.Verdict{}, c.Original.Src.Port())
	if rule != nil {
		fact := rule.Fact()
		use.Rule, ports = &fact, ruleset.SourcePorts(rule.Verdict, c.Original.Src.Port())
	}
	use.Low, use.High = ports.Lo, ports.Hi
	err = s.Do(func() error {
		use.Used, err = portsInUse(e.Packet.Proto, c.Reply.Src, use.Source, ports)
		return err
	})
	if err != nil {
		return unread(e.Netns, "conntrack", err)
	}
	return []event.Fact{{PortUse: &use}}
}

// sourceRule finds the rule that translated the source of a packet.
func (s *netnsState) sourceRule(e event.Event, c *event.Conntrack) (rule *ruleset.Candidate, err error) {
	p, ok := ruleset.FromEvent(e)
	if !ok {
		return nil, nil
	}
	p.Src, p.Sport, p.Dst, p.Dport = c.Original.Src.Addr(), c.Original.Src.Port(), c.Reply.Src.Addr(), c.Reply.Src.Port()
	if err := s.Do(func() error { r, err := route(routeQuery{dst: p.Dst}); p.Out = r.Out; return err }); err != nil {
		return nil, err
	}
	err = s.complete(func() (wanted []*ruleset.Set) {
		rule, wanted = s.rules.SourceRule(p)
		return wanted
	})
	return rule, err
}

// portsInUse counts the conntrack entries of the thread's namespace with replies from a server to one of an address's
// ports.
func portsInUse(proto string, server netip.AddrPort, source netip.Addr, ports ruleset.Ports) (int, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	family, number := byte(unix.AF_INET6), protoNumber(proto)
	if source.Is4() {
		family = unix.AF_INET
	}
	taken := map[uint16]bool{}
	err = c.Ask(ctGet, unix.NLM_F_DUMP, nfgenmsg(family), func(m netlink.Message) error {
		if len(m.Payload) < 4 {
			return nil
		}
		reply := netlink.AttrMap(m.Payload[4:])[ctaTupleReply]
		kind := netlink.AttrMap(netlink.AttrMap(reply)[ctaTupleProto])[ctaProtoNum]
		if len(kind) == 1 && kind[0] == number {
			f := flow(reply)
			if port := f.Dst.Port(); f.Src == server && f.Dst.Addr() == source && port >= ports.Lo && port <= ports.Hi {
				taken[port] = true
			}
		}
		return nil
	})
	if errors.Is(err, unix.EINTR) { // it changed meanwhile: a few may be missing
		err = nil
	}
	return len(taken), err
}
