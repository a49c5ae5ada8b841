// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"time"

	"ktrace/decoder/event"
)

// lostRecords is when records were last lost on their way from the kernel. A lost record is no evidence that no packet
// came.
type lostRecords struct {
	total uint64
	rose  time.Time
}

// learn takes in the kernel's counters.
func (l *lostRecords) learn(e event.Event) {
	f, ok := e.Body.(event.Fact)
	if !ok || f.Counts == nil {
		return
	}
	if n := f.Counts.Lost.Total(); n != l.total {
		l.total, l.rose = n, e.Time
	}
}

// since reports whether records were lost after a time.
func (l *lostRecords) since(t time.Time) bool { return l.rose.After(t) }

// absent returns how certain it is that no answer came to a query of which none was seen; ok is false if nothing
// follows.
func (r *DNS) absent(e event.Event, d event.DNS) (sure event.Confidence, ok bool) {
	switch {
	case d.OneSided || r.state.broadcast(d.ClientNetns, d.Server.Addr()):
		return "", false
	case d.Captured || r.lost.since(e.Time):
		return event.Likely, true
	}
	return event.Certain, true
}

// broadcast reports whether an address is the broadcast address of one of a namespace's networks.
func (st *State) broadcast(netns uint32, addr netip.Addr) bool {
	for at, d := range st.devices.All() {
		if at.netns != netns {
			continue
		}
		for _, p := range d.Addrs {
			if p.Bits() < addr.BitLen()-1 && lastOf(p) == addr {
				return true
			}
		}
	}
	return false
}

// lastOf is the last address of an IPv4 network, which is its broadcast address; IPv6 has none.
func lastOf(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}
