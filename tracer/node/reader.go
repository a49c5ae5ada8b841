// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/ruleset"
	"ktrace/tracer/netns"
)

// Reader reads the state of network namespaces. It holds none of them open between two calls, and is not safe for
// concurrent use.
type Reader struct {
	finder  *netns.Finder
	states  map[uint32]*netnsState
	netstat netstatReader
	out     uint64 // of states, to make room
}

// netnsState is one network namespace and what was read in it before.
type netnsState struct {
	reader    *Reader
	inode     uint32
	rules     *ruleset.Ruleset
	read      time.Duration // when the rules were, since boot
	conntrack *event.ConntrackStats
	netstat   netstat

	base  ruleset.Counts // what the rules had counted
	based time.Duration  // at this time since boot
	drops map[event.LookupKey]uint64
	last  time.Time // that netfilter dropped

	troubled time.Time // when an event here was last explained
}

const (
	maxNetns   = 1024 // remembered at a time
	maxDrops   = 4096 // flows whose drops are counted, in one namespace
	setsRounds = 4    // of loading sets: a chain that a set's elements lead to may need more
)

// New returns a Reader of the namespaces that a Finder finds.
func New(found *netns.Finder) *Reader {
	return &Reader{finder: found, states: map[uint32]*netnsState{}, netstat: newNetstatReader()}
}

// state returns that of a namespace that exists.
func (o *Reader) state(inode uint32) (*netnsState, error) {
	if s := o.states[inode]; s != nil {
		return s, nil
	}
	n, err := o.open(inode)
	if err != nil {
		return nil, err
	}
	if len(o.states) >= maxNetns {
		o.makeRoom()
	}
	s := &netnsState{reader: o, inode: inode}
	o.states[inode] = s
	return s, n.Close()
}

// makeRoom forgets the half of the namespaces in which nothing was explained for the longest time.
func (o *Reader) makeRoom() {
	quiet := slices.SortedFunc(maps.Values(o.states), func(a, b *netnsState) int { return a.troubled.Compare(b.troubled) })
	for _, s := range quiet[:len(quiet)/2] {
		delete(o.states, s.inode)
		o.out++
	}
}

// open opens a namespace by its inode number. The state of one that is gone is dropped.
func (o *Reader) open(inode uint32) (*netns.Handle, error) {
	n, err := o.finder.Open(inode)
	if err != nil {
		delete(o.states, inode)
	}
	return n, err
}

// all are the inode numbers of the namespaces that exist, at most maxNetns.
func (o *Reader) all() []uint32 {
	found := o.finder.Inodes()
	return found[:min(len(found), maxNetns)]
}

// Do runs f in the namespace.
func (s *netnsState) Do(f func() error) error {
	n, err := s.reader.open(s.inode)
	if err != nil {
		return err
	}
	return errors.Join(n.Do(f), n.Close())
}

// in runs a lookup in a namespace; its error becomes a fact.
func (o *Reader) in(inode uint32, what string, ask func(*netnsState) ([]event.Fact, error)) []event.Fact {
	s, err := o.state(inode)
	var facts []event.Fact
	if err == nil {
		if inner := s.Do(func() error { facts, err = ask(s); return nil }); inner != nil {
			err = inner
		}
	}
	if err != nil {
		facts = append(facts, event.Fact{LookupFailed: &event.LookupFailed{Netns: inode, What: what, Why: err.Error()}})
	}
	return facts
}

// Sysctls reads the settings that packets depend on, those of the device included, if one is given.
func (o *Reader) Sysctls(inode, ifindex uint32) []event.Fact {
	return o.in(inode, "sysctl", func(*netnsState) ([]event.Fact, error) {
		keys := sysctlKeys()
		if name := deviceName(ifindex); ifindex != 0 && name != "" {
			keys = append(keys, deviceKeys(name)...)
		}
		return sysctls(inode, keys)
	})
}

// Routes looks up the route to the packet's destination and back to its source. in is the ingress device; 0 if the packet
// was sent from this namespace.
func (o *Reader) Routes(about event.LookupKey, in uint32) []event.Fact {
	return o.in(about.Netns, "route", func(*netnsState) ([]event.Fact, error) {
		src, dst := about.Src.Addr().Unmap(), about.Dst.Addr().Unmap()
		forth := routeQuery{dst: dst, src: src, in: in}
		if in == 0 {
			// For a local sender the kernel first looks up the route without a source; a source that is not local is EINVAL.
			forth.src = netip.Addr{}
		}
		r, err := route(forth)
		if err != nil {
			return nil, err
		}
		r.About = about
		back, err := route(routeQuery{dst: src})
		if err != nil {
			return []event.Fact{{Route: &r}}, err
		}
		back.About, back.Reverse = about, true
		return []event.Fact{{Route: &r}, {Route: &back}}, nil
	})
}

// Neighbour looks up the next hop of a packet.
func (o *Reader) Neighbour(about event.LookupKey, out uint32) []event.Fact {
	return o.in(about.Netns, "route", func(*netnsState) ([]event.Fact, error) {
		r, err := route(routeQuery{dst: about.Dst.Addr().Unmap()})
		if err != nil {
			return nil, err
		}
		r.About = about
		next := r.Gateway
		if !next.IsValid() {
			next = r.Dst
		}
		n, err := neighbour(about.Netns, out, next)
		if err == nil {
			n.NoCarrier, err = noCarrier(out)
		}
		if err != nil {
			return []event.Fact{{Route: &r}}, err
		}
		return []event.Fact{{Route: &r}, {Neighbour: &n}}, nil
	})
}

// Conntrack reads conntrack's counters, and what rose since they were last read here.
func (o *Reader) Conntrack(inode uint32) []event.Fact {
	return o.in(inode, "conntrack", (*netnsState).readConntrack)
}

// Netstat reads the protocols' counters, and what rose since they were last read here; if accept queues overflowed, also
// the listeners that may have lost connections.
func (o *Reader) Netstat(inode uint32) []event.Fact {
	return o.in(inode, "netstat", func(s *netnsState) ([]event.Fact, error) {
		facts, err := s.readNetstat()
		if err != nil || facts[0].Netstat.Rose["TcpExtListenOverflows"] == 0 {
			return facts, err
		}
		full, err := overfull(inode)
		for _, l := range full {
			l.PID, l.Comm = owner(o.finder.Node(), inode, l.Inode)
			facts = append(facts, event.Fact{Socket: &l})
		}
		return facts, err
	})
}

// readConntrack is called in the namespace.
func (s *netnsState) readConntrack() ([]event.Fact, error) {
	now, err := conntrackStats(s.inode)
	if err != nil {
		return nil, err
	}
	if s.conntrack != nil {
		now.Rose = now.Total.Minus(s.conntrack.Total)
	}
	s.conntrack = &now
	return []event.Fact{{Conntrack: &now}}, nil
}

// readNetstat is called in the namespace.
func (s *netnsState) readNetstat() ([]event.Fact, error) {
	now, err := s.reader.netstat.read(s.netstat)
	if err != nil {
		return nil, err
	}
	f := event.Netstat{Netns: s.inode, Rose: map[string]uint64{}}
	if s.netstat.all != nil && now.text != s.netstat.text {
		f.Rose = now.all.rose(s.netstat.all)
	}
	s.netstat = now
	return []event.Fact{{Netstat: &f}}, nil
}

// Tracked looks for conntrack's entry of a flow, given in either direction.
func (o *Reader) Tracked(inode uint32, proto string, flow packet.FlowTuple) []event.Fact {
	return o.in(inode, "conntrack", func(*netnsState) ([]event.Fact, error) {
		t, err := tracked(inode, proto, flow)
		return []event.Fact{{Tracked: &t}}, err
	})
}

// Socket finds the socket that a packet to an address is for, and the process that has it.
func (o *Reader) Socket(about event.LookupKey, dst netip.AddrPort) []event.Fact {
	facts := o.in(about.Netns, "sockets", func(*netnsState) ([]event.Fact, error) {
		s, err := socketAt(about, netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port()))
		return []event.Fact{{Socket: &s}}, err
	})
	for _, f := range facts {
		if f.Socket != nil && f.Socket.Inode != 0 {
			f.Socket.PID, f.Socket.Comm = owner(o.finder.Node(), about.Netns, f.Socket.Inode)
		}
	}
	return facts
}
