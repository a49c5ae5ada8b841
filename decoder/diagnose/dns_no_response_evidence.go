// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"

	"ktrace/decoder/event"
)

// absent returns how certain it is that no answer came to a query of which none was seen; ok is false if nothing
// follows.
func (r *DNS) absent(d event.DNS) (sure event.Confidence, ok bool) {
	switch {
	case d.OneSided || r.state.broadcast(d.ClientNetns, d.Server.Addr()):
		return "", false
	case d.Captured:
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
