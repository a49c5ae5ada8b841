// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/ruleset"
	"ktrace/tracer/boot"
)

// refresh reads the rules anew.
func (s *netnsState) refresh() error {
	return s.Do(func() error {
		s.readRules()
		return nil
	})
}

// rebase makes the counters of now the baseline.
func (s *netnsState) rebase() error {
	return s.Do(func() error {
		s.readBase()
		return nil
	})
}

// readRules is called in the namespace.
func (s *netnsState) readRules() {
	begin := boot.Now()
	if s.rules == nil {
		s.rules = readRules()
	} else {
		s.rules = recount(s.rules)
	}
	s.read = begin
}

// readBase is called in the namespace. A drop meanwhile may be in the baseline and is still counted after it: then a
// rule's counter rises by less than its drops, and its confidence is lower.
func (s *netnsState) readBase() {
	s.readRules()
	s.base, s.based, s.drops = s.rules.Counts(), s.read, map[event.LookupKey]uint64{}
}

// complete repeats ask until it wants no more sets, or those left cannot be read.
func (s *netnsState) complete(ask func() []*ruleset.Set) error {
	for range setsRounds {
		wanted := ask()
		if len(wanted) == 0 {
			return nil
		}
		if err := s.Do(func() error { return loadSets(wanted) }); err != nil {
			return err
		}
	}
	return nil
}

// Baseline reads the counters of a namespace, to which later ones are compared.
func (o *Reader) Baseline(inode uint32) []event.Fact {
	return o.in(inode, "rules", func(s *netnsState) ([]event.Fact, error) {
		s.readBase()
		facts, err := s.readConntrack()
		more, err2 := s.readNetstat()
		facts = append(facts, more...)
		for _, c := range s.rules.ChainFacts(inode) {
			facts = append(facts, event.Fact{Chain: &c})
		}
		return facts, errors.Join(err, err2)
	})
}

func unread(inode uint32, what string, err error) []event.Fact {
	return []event.Fact{{LookupFailed: &event.LookupFailed{Netns: inode, What: what, Why: err.Error()}}}
}

// Services reads the services that kube-proxy wrote rules for.
func (o *Reader) Services(inode uint32) []event.Fact {
	s, err := o.ruled(inode, 0)
	if err == nil {
		err = s.complete(s.rules.ServiceSets)
	}
	if err != nil {
		return unread(inode, "services", err)
	}
	var facts []event.Fact
	for _, f := range s.rules.Services(inode) {
		facts = append(facts, event.Fact{Service: &f})
	}
	return facts
}

// ruled returns the namespace's state with rules that were read after the time given, since boot.
func (o *Reader) ruled(inode uint32, after time.Duration) (*netnsState, error) {
	s, err := o.state(inode)
	if err == nil && (s.rules == nil || s.read <= after) {
		err = s.refresh()
	}
	return s, err
}

// ServiceRules returns what the rules of the packet's namespace do with its destination.
func (o *Reader) ServiceRules(e event.Event) []event.Fact {
	p, ok := ruleset.FromEvent(e)
	if !ok {
		return nil
	}
	s, err := o.ruled(e.Netns, at(e))
	var f event.ServiceRules
	if err == nil {
		err = s.complete(func() (wanted []*ruleset.Set) {
			f, wanted = s.rules.ServiceRules(e.Netns, p)
			return wanted
		})
	}
	if err != nil {
		return unread(e.Netns, "rules", err)
	}
	return []event.Fact{{ServiceRules: &f}}
}

// Dropped counts a packet that netfilter dropped, for comparison with what the rules count.
func (o *Reader) Dropped(e event.Event) {
	s := o.states[e.Netns]
	if s == nil {
		return
	}
	s.last = time.Now()
	if q := event.KeyOf(e); s.covers(e) && (s.drops[q] > 0 || len(s.drops) < maxDrops) {
		s.drops[q]++
	}
}

// at is when an event happened, since boot: the stream adds the wall clock after this lookup.
func at(e event.Event) time.Duration { return time.Duration(e.Time.UnixNano()) }

// covers reports whether the event came after the counters were read.
func (s *netnsState) covers(e event.Event) bool {
	return s.base != nil && at(e) > s.based
}

// DropRules returns the rules that may have dropped the packet of an event.
func (o *Reader) DropRules(e event.Event) []event.Fact {
	p, ok := ruleset.FromEvent(e)
	if !ok {
		return nil
	}
	s, err := o.ruled(e.Netns, at(e))
	if err != nil {
		return unread(e.Netns, "rules", err)
	}
	c := ruleset.Case{About: event.KeyOf(e), Packet: p}
	if s.covers(e) {
		c.Before, c.Drops = s.base, s.drops[c.About]
	}
	if err := s.Do(func() error { return place(&c, e.Ifindex) }); err != nil {
		return unread(e.Netns, "route", err)
	}
	var b event.DropRules
	err = s.complete(func() (wanted []*ruleset.Set) {
		if d, ok := e.Body.(event.Drop); ok && d.Conntrack == nil && s.rules.Untracks(c) {
			c.Packet.State = ruleset.StateUntracked
		}
		b, wanted = s.rules.DropRules(c)
		return wanted
	})
	if err != nil {
		return unread(e.Netns, "rules", err)
	}
	return []event.Fact{{DropRules: &b}}
}

// place finds out at which hooks the packet may have been, and its devices, by asking which of its addresses are of
// this namespace.
func place(c *ruleset.Case, ifindex uint32) error {
	p := &c.Packet
	here, err := local(p.Src)
	if err != nil {
		return err
	}
	mine, err := local(p.Dst)
	if err != nil {
		return err
	}
	way, err := route(routeQuery{dst: p.Dst})
	if err != nil {
		return err
	}
	p.In, p.Out = "", way.Out
	switch {
	case here:
		c.Hooks = []ruleset.Hook{ruleset.Output, ruleset.Postrouting}
		if mine {
			c.Hooks = append(c.Hooks, ruleset.Prerouting, ruleset.Input)
			p.In = "lo"
		}
		return nil
	case mine, p.Dst.IsMulticast(): // as that of neighbour discovery
		c.Hooks = []ruleset.Hook{ruleset.Prerouting, ruleset.Input}
	default:
		c.Hooks = []ruleset.Hook{ruleset.Prerouting, ruleset.Forward, ruleset.Postrouting}
	}
	if ifindex != 0 {
		p.In = deviceName(ifindex)
	}
	return nil
}

// local reports whether an address is of this namespace.
func local(a netip.Addr) (bool, error) {
	r, err := route(routeQuery{dst: a})
	if err != nil {
		return false, fmt.Errorf("is %s local: %w", a, err)
	}
	return r.Type == "local", nil
}
