// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestWhatATunnelBringsIsLostForReasons: each by the kernel's word, and by the function where older kernels have none.
func TestWhatATunnelBringsIsLostForReasons(t *testing.T) {
	node, peer := netip.MustParseAddr("172.16.0.2"), netip.MustParseAddr("172.16.0.1")
	outer := packet.Packet{Family: "ipv4", Proto: "udp", Src: peer, Sport: 40000, Dst: node, Dport: packet.PortVXLANLinux}
	inner := packet.Packet{Family: "ipv4", Proto: "tcp", Src: unreachedBy, Sport: 40000, Dst: netip.MustParseAddr("10.244.2.2"), Dport: 80}
	const own, other = "0a:00:00:00:00:01", "0a:00:00:00:00:02"
	for _, tt := range []struct {
		name   string
		packet packet.Packet
		drop   event.Drop
		iface  string
		mac    string // of the frame that the tunnel carried
		route  event.Route
		id     string
		sure   event.Confidence
	}{
		{"a bad checksum", outer, event.Drop{Reason: "UDP_CSUM", Location: "udp_queue_rcv_one_skb"}, "eth0", own, event.Route{}, "checksum-error", event.Certain},
		{"a bad checksum, on an old kernel", outer, event.Drop{Reason: event.ReasonNotReported, Location: "udp_queue_rcv_one_skb"}, "eth0", own, event.Route{}, "checksum-error", event.Likely},
		{"a stale MAC", inner, event.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "vx0", other, event.Route{Type: "unicast", Out: "cni0"}, "overlay-blocked", event.Certain},
		{"a stale MAC, on an old kernel", inner, event.Drop{Reason: event.ReasonNotReported, Location: "ip_rcv_core"}, "vx0", other, event.Route{Type: "local"}, "overlay-blocked", event.Certain},
		{"the right MAC, on an old kernel", inner, event.Drop{Reason: event.ReasonNotReported, Location: "ip_rcv_core"}, "vx0", own, event.Route{Type: "local"}, "kernel-drop", event.Certain},
		{"flooded, for a third node", inner, event.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "vx0", other, event.Route{Type: "unicast", Out: "vx0"}, "", ""},
		{"for a host behind a router", inner, event.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "vx0", other, event.Route{Type: "unicast", Out: "eth0", Gateway: peer}, "", ""},
		{"another host's, at no tunnel", inner, event.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "eth0", other, event.Route{Type: "local"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drop := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, Iface: tt.iface, Ifindex: 2}, Packet: &tt.packet, Body: tt.drop}
			tt.route.About = event.KeyOf(drop)
			carrier := outer
			carrier.Tunnel = &packet.Tunnel{Kind: "vxlan", MAC: tt.mac, Packet: &inner}
			arrived := event.Event{Header: event.Header{Netns: 7, Direction: event.In}, Packet: &carrier, Body: event.Hop{}}
			state := learnt([]event.Fact{{Device: &event.Device{Netns: 7, Name: "vx0", Type: "vxlan", MAC: own}}, {Device: &event.Device{Netns: 7, Name: "eth0"}},
				{Route: &tt.route}}, arrived)
			f, _ := state.Proves(drop, tt.drop)
			if f.ID != tt.id || f.Confidence != tt.sure {
				t.Errorf("%s %q %q, want %s %q", f.Confidence, f.ID, f.Evidence, tt.sure, tt.id)
			}
		})
	}
}
