// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// isUDPAnswer reports whether a datagram that was not sent for want of a route is a server's answer.
func isUDPAnswer(p *packet.Packet) bool {
	_, answers := p.RequestOrReply()
	return p.Proto == "udp" && answers
}

// noRouteBack makes of a call that failed for want of a route the finding about a server that cannot answer.
func (st *State) noRouteBack(f *event.Finding, e event.Event) {
	p := e.Packet
	f.Title = fmt.Sprintf("%v cannot answer %v from %s port %d: its network namespace has no route back.", e.Process(), p.Dst, p.Proto, p.Sport)
	f.Cause = "The kernel found no route for the answer, so the server's system call failed at once, and nothing was sent. The client waits for its timeout."
	f.Evidence[0] = fmt.Sprintf("%s answer of %v in netns %d to %v", e.Time.UTC().Format("15:04:05.000000"), e.Process(), e.Netns, p.Destination())
}

// answers names the two ends in a finding about an answer that was not sent. A socket that is bound to no address of its own
// answers from any of its namespace's.
func (st *State) answers(f *event.Finding, e event.Event) {
	if !e.Packet.Src.IsUnspecified() {
		return
	}
	f.About.Servers = nil
	for _, d := range st.devicesOf(e.Netns) {
		for _, p := range d.Addrs {
			if a := p.Addr(); a.Is4() == e.Packet.Dst.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				f.About.Asks(e.Packet.Dst, netip.AddrPortFrom(a, e.Packet.Sport))
			}
		}
	}
}
