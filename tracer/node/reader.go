package node

import (
	"errors"
	"net/netip"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/ruleset"
	"ktrace/tracer/netns"
)

// Observer answers questions about network namespaces. It holds none of them open between two questions. It is of one
// goroutine.
type Reader struct {
	finder *netns.Finder
	states map[uint32]*netnsState
}

// space is one network namespace and what was read in it before.
type netnsState struct {
	reader    *Reader
	inode     uint32
	rules     *ruleset.Ruleset
	read      time.Duration // when the rules were, since boot
	conntrack *event.ConntrackStats
	netstat   counters

	base  ruleset.Counts // what the rules had counted
	based time.Duration  // at this time since boot
	drops map[event.Question]uint64
	last  time.Time // that netfilter dropped

	troubled time.Time // when an event here last needed to be explained
}

const (
	maxNetns   = 1024 // remembered at a time
	maxDrops   = 4096 // questions whose drops are counted, in one namespace
	setsRounds = 4    // a chain that only a set's elements lead to may need sets of its own
)

// New returns an Observer of the namespaces that a Finder finds.
func New(found *netns.Finder) *Reader {
	return &Reader{finder: found, states: map[uint32]*netnsState{}}
}

// space returns what is known of a namespace that is there.
func (o *Reader) state(inode uint32) (*netnsState, error) {
	if s := o.states[inode]; s != nil {
		return s, nil
	}
	n, err := o.open(inode)
	if err != nil {
		return nil, err
	}
	if len(o.states) >= maxNetns {
		clear(o.states)
	}
	s := &netnsState{reader: o, inode: inode}
	o.states[inode] = s
	return s, n.Close()
}

// open finds a namespace by its number. What was read in one that is gone is forgotten.
func (o *Reader) open(inode uint32) (*netns.Space, error) {
	n, err := o.finder.Open(inode)
	if err != nil {
		delete(o.states, inode)
	}
	return n, err
}

// all are the numbers of the namespaces that there are, as many as are remembered.
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

// in asks within a namespace; what cannot be had becomes a fact that says so.
func (o *Reader) in(inode uint32, what string, ask func(*netnsState) ([]event.Fact, error)) []event.Fact {
	s, err := o.state(inode)
	var facts []event.Fact
	if err == nil {
		if inner := s.Do(func() error { facts, err = ask(s); return nil }); inner != nil {
			err = inner
		}
	}
	if err != nil {
		facts = append(facts, event.Fact{Unread: &event.Unread{Netns: inode, What: what, Why: err.Error()}})
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

// Routes asks for the packet's way to its destination and back to its source. in is the device it came in by; 0 if it
// was sent from this namespace.
func (o *Reader) Routes(about event.Question, in uint32) []event.Fact {
	return o.in(about.Netns, "route", func(*netnsState) ([]event.Fact, error) {
		src, dst := about.Src.Addr().Unmap(), about.Dst.Addr().Unmap()
		forth := routeQuery{dst: dst, src: src, in: in}
		if in == 0 {
			// The kernel looks a local sender's way up without its address first; with one that is not local it refuses.
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
func (o *Reader) Neighbour(about event.Question, out uint32) []event.Fact {
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

// Conntrack reads the counters, and what rose since they were last read here.
func (o *Reader) Conntrack(inode uint32) []event.Fact {
	return o.in(inode, "conntrack", (*netnsState).readConntrack)
}

// Netstat reads the protocols' counters and tells what rose since they were last read here; if accept queues
// overflowed, the listeners, too, that may have lost by it.
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
	now, err := netstat()
	if err != nil {
		return nil, err
	}
	f := event.Netstat{Netns: s.inode, Rose: map[string]uint64{}}
	if s.netstat != nil {
		f.Rose = now.rose(s.netstat)
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
func (o *Reader) Socket(about event.Question, dst netip.AddrPort) []event.Fact {
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
