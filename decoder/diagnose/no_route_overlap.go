// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// overlap says which other network of the node an address may be in, though the route for it leads to a device whose own
// range has it, too: docker0 with the pods' range, or with the services'. "" if there is none. The route to mine is the one
// that wins.
func (st *State) overlap(e event.Event, device string, hop netip.Addr) (mine netip.Prefix, why string) {
	taker, ok := st.devices.Get(deviceKey{e.Netns, device})
	i := slices.IndexFunc(taker.Addrs, func(p netip.Prefix) bool { return p.Masked().Contains(hop) && !p.IsSingleIP() })
	if !ok || i < 0 || hop != e.Packet.Dst {
		return mine, ""
	}
	mine = taker.Addrs[i].Masked()
	for _, d := range st.devicesOf(e.Netns) {
		for _, p := range d.Addrs {
			if d.Name != device && !p.IsSingleIP() && p.Addr().Is4() == hop.Is4() && p.Masked().Overlaps(mine) && !p.Addr().IsLinkLocalUnicast() {
				return mine, fmt.Sprintf("its range %v overlaps that of %s, %v", mine, d.Name, p.Masked())
			}
		}
	}
	if s, known := st.ServiceAt(e.Netns, e.Packet.Proto, e.Packet.Destination()); known && s.Source != "resolv" {
		return mine, fmt.Sprintf("its range %v overlaps that of the services", mine)
	}
	return mine, ""
}
