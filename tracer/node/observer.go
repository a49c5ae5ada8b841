package node

import (
	"errors"
	"net/netip"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/ruleset"
	"ktrace/tracer/netns"
)

// Observer answers questions about network namespaces. It holds none of them open between two questions. It is of one
// goroutine.
type Observer struct {
	found  *netns.Finder
	spaces map[uint32]*space
}

// space is one network namespace and what was read in it before.
type space struct {
	observer  *Observer
	inode     uint32
	rules     *ruleset.Ruleset
	read      time.Duration // when the rules were, since boot
	conntrack *decoder.ConntrackStats
	netstat   counters

	base  ruleset.Counts // what the rules had counted
	based time.Duration  // at this time since boot
	drops map[decoder.Question]uint64
	last  time.Time // that netfilter dropped

	troubled time.Time // when an event here last needed to be explained
}

const (
	maxSpaces  = 1024 // remembered at a time
	maxDrops   = 4096 // questions whose drops are counted, in one namespace
	setsRounds = 4    // a chain that only a set's elements lead to may need sets of its own
)

// New returns an Observer of the namespaces that a Finder finds.
func New(found *netns.Finder) *Observer {
	return &Observer{found: found, spaces: map[uint32]*space{}}
}

// space returns what is known of a namespace that is there.
func (o *Observer) space(inode uint32) (*space, error) {
	if s := o.spaces[inode]; s != nil {
		return s, nil
	}
	n, err := o.open(inode)
	if err != nil {
		return nil, err
	}
	if len(o.spaces) >= maxSpaces {
		clear(o.spaces)
	}
	s := &space{observer: o, inode: inode}
	o.spaces[inode] = s
	return s, n.Close()
}

// open finds a namespace by its number. What was read in one that is gone is forgotten.
func (o *Observer) open(inode uint32) (*netns.Space, error) {
	n, err := o.found.Open(inode)
	if err != nil {
		delete(o.spaces, inode)
	}
	return n, err
}

// all are the numbers of the namespaces that there are, as many as are remembered.
func (o *Observer) all() []uint32 {
	found := o.found.Inodes()
	return found[:min(len(found), maxSpaces)]
}

// Do runs f in the namespace.
func (s *space) Do(f func() error) error {
	n, err := s.observer.open(s.inode)
	if err != nil {
		return err
	}
	return errors.Join(n.Do(f), n.Close())
}

// in asks within a namespace; what cannot be had becomes a fact that says so.
func (o *Observer) in(inode uint32, what string, ask func(*space) ([]decoder.Fact, error)) []decoder.Fact {
	s, err := o.space(inode)
	var facts []decoder.Fact
	if err == nil {
		if inner := s.Do(func() error { facts, err = ask(s); return nil }); inner != nil {
			err = inner
		}
	}
	if err != nil {
		facts = append(facts, decoder.Fact{Unread: &decoder.Unread{Netns: inode, What: what, Why: err.Error()}})
	}
	return facts
}

// Sysctls reads the settings that packets depend on, those of the device included, if one is given.
func (o *Observer) Sysctls(inode, ifindex uint32) []decoder.Fact {
	return o.in(inode, "sysctl", func(*space) ([]decoder.Fact, error) {
		keys := sysctlKeys()
		if name := deviceName(ifindex); ifindex != 0 && name != "" {
			keys = append(keys, deviceKeys(name)...)
		}
		return sysctls(inode, keys)
	})
}

// Routes asks for the packet's way to its destination and back to its source. in is the device it came in by; 0 if it
// was sent from this namespace.
func (o *Observer) Routes(about decoder.Question, in uint32) []decoder.Fact {
	return o.in(about.Netns, "route", func(*space) ([]decoder.Fact, error) {
		src, dst := about.Src.Addr().Unmap(), about.Dst.Addr().Unmap()
		forth := way{dst: dst, src: src, in: in}
		if in == 0 {
			// The kernel looks a local sender's way up without its address first; with one that is not local it refuses.
			forth.src = netip.Addr{}
		}
		r, err := route(forth)
		if err != nil {
			return nil, err
		}
		r.About = about
		back, err := route(way{dst: src})
		if err != nil {
			return []decoder.Fact{{Route: &r}}, err
		}
		back.About, back.Reverse = about, true
		return []decoder.Fact{{Route: &r}, {Route: &back}}, nil
	})
}

// Neighbour looks up the next hop of a packet.
func (o *Observer) Neighbour(about decoder.Question, out uint32) []decoder.Fact {
	return o.in(about.Netns, "route", func(*space) ([]decoder.Fact, error) {
		r, err := route(way{dst: about.Dst.Addr().Unmap()})
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
			return []decoder.Fact{{Route: &r}}, err
		}
		return []decoder.Fact{{Route: &r}, {Neighbour: &n}}, nil
	})
}

// Conntrack reads the counters, and what rose since they were last read here.
func (o *Observer) Conntrack(inode uint32) []decoder.Fact {
	return o.in(inode, "conntrack", (*space).readConntrack)
}

// Netstat reads the protocols' counters and tells what rose since they were last read here; if accept queues
// overflowed, the listeners, too, that may have lost by it.
func (o *Observer) Netstat(inode uint32) []decoder.Fact {
	return o.in(inode, "netstat", func(s *space) ([]decoder.Fact, error) {
		facts, err := s.readNetstat()
		if err != nil || facts[0].Netstat.Rose["TcpExtListenOverflows"] == 0 {
			return facts, err
		}
		full, err := overfull(inode)
		for _, l := range full {
			l.PID, l.Comm = owner(o.found.Node(), inode, l.Inode)
			facts = append(facts, decoder.Fact{Socket: &l})
		}
		return facts, err
	})
}

// readConntrack is called in the namespace.
func (s *space) readConntrack() ([]decoder.Fact, error) {
	now, err := conntrackStats(s.inode)
	if err != nil {
		return nil, err
	}
	if s.conntrack != nil {
		now.Rose = now.Total.Minus(s.conntrack.Total)
	}
	s.conntrack = &now
	return []decoder.Fact{{Conntrack: &now}}, nil
}

// readNetstat is called in the namespace.
func (s *space) readNetstat() ([]decoder.Fact, error) {
	now, err := netstat()
	if err != nil {
		return nil, err
	}
	f := decoder.Netstat{Netns: s.inode, Rose: map[string]uint64{}}
	if s.netstat != nil {
		f.Rose = now.rose(s.netstat)
	}
	s.netstat = now
	return []decoder.Fact{{Netstat: &f}}, nil
}

// Tracked looks for conntrack's entry of a flow, given in either direction.
func (o *Observer) Tracked(inode uint32, proto string, flow decoder.FlowTuple) []decoder.Fact {
	return o.in(inode, "conntrack", func(*space) ([]decoder.Fact, error) {
		t, err := tracked(inode, proto, flow)
		return []decoder.Fact{{Tracked: &t}}, err
	})
}

// Socket finds the socket that a packet to an address is for, and the process that has it.
func (o *Observer) Socket(about decoder.Question, dst netip.AddrPort) []decoder.Fact {
	facts := o.in(about.Netns, "sockets", func(*space) ([]decoder.Fact, error) {
		s, err := socketAt(about, netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port()))
		return []decoder.Fact{{Socket: &s}}, err
	})
	for _, f := range facts {
		if f.Socket != nil && f.Socket.Inode != 0 {
			f.Socket.PID, f.Socket.Comm = owner(o.found.Node(), about.Netns, f.Socket.Inode)
		}
	}
	return facts
}
