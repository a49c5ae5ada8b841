package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder"
)

// TestWhatATunnelBringsIsLostForReasons: each by the kernel's word, and by the function where older kernels have none.
func TestWhatATunnelBringsIsLostForReasons(t *testing.T) {
	node, peer := netip.MustParseAddr("172.16.0.2"), netip.MustParseAddr("172.16.0.1")
	outer := decoder.Packet{Family: "ipv4", Proto: "udp", Src: peer, Sport: 40000, Dst: node, Dport: decoder.PortVXLANLinux}
	inner := decoder.Packet{Family: "ipv4", Proto: "tcp", Src: unreachedBy, Sport: 40000, Dst: netip.MustParseAddr("10.244.2.2"), Dport: 80}
	const own, other = "0a:00:00:00:00:01", "0a:00:00:00:00:02"
	for _, tt := range []struct {
		name   string
		packet decoder.Packet
		drop   decoder.Drop
		iface  string
		mac    string // of the frame that the tunnel carried
		route  decoder.Route
		id     string
		sure   decoder.Confidence
	}{
		{"a bad checksum", outer, decoder.Drop{Reason: "UDP_CSUM", Location: "udp_queue_rcv_one_skb"}, "eth0", own, decoder.Route{}, "checksum-error", decoder.Certain},
		{"a bad checksum, on an old kernel", outer, decoder.Drop{Reason: decoder.ReasonNotTold, Location: "udp_queue_rcv_one_skb"}, "eth0", own, decoder.Route{}, "checksum-error", decoder.Likely},
		{"a stale MAC", inner, decoder.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "vx0", other, decoder.Route{Type: "unicast", Out: "cni0"}, "overlay-blocked", decoder.Certain},
		{"a stale MAC, on an old kernel", inner, decoder.Drop{Reason: decoder.ReasonNotTold, Location: "ip_rcv_core"}, "vx0", other, decoder.Route{Type: "local"}, "overlay-blocked", decoder.Certain},
		{"the right MAC, on an old kernel", inner, decoder.Drop{Reason: decoder.ReasonNotTold, Location: "ip_rcv_core"}, "vx0", own, decoder.Route{Type: "local"}, "kernel-drop", decoder.Certain},
		{"flooded, for a third node", inner, decoder.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "vx0", other, decoder.Route{Type: "unicast", Out: "vx0"}, "", ""},
		{"for a host behind a router", inner, decoder.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "vx0", other, decoder.Route{Type: "unicast", Out: "eth0", Gateway: peer}, "", ""},
		{"another host's, at no tunnel", inner, decoder.Drop{Reason: "OTHERHOST", Location: "ip_rcv_core"}, "eth0", other, decoder.Route{Type: "local"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drop := decoder.Event{Header: decoder.Header{Time: time.Unix(1000, 0), Netns: 7, Iface: tt.iface, Ifindex: 2}, Packet: &tt.packet, Body: tt.drop}
			tt.route.About = decoder.Ask(drop)
			carrier := outer
			carrier.Tunnel = &decoder.Tunnel{Kind: "vxlan", MAC: tt.mac, Packet: &inner}
			arrived := decoder.Event{Header: decoder.Header{Netns: 7, Direction: decoder.In}, Packet: &carrier, Body: decoder.Hop{}}
			state := learnt([]decoder.Fact{{Device: &decoder.Device{Netns: 7, Name: "vx0", Type: "vxlan", MAC: own}}, {Device: &decoder.Device{Netns: 7, Name: "eth0"}},
				{Route: &tt.route}}, arrived)
			f, _ := state.Proves(drop, tt.drop)
			if f.ID != tt.id || f.Confidence != tt.sure {
				t.Errorf("%s %q %q, want %s %q", f.Confidence, f.ID, f.Evidence, tt.sure, tt.id)
			}
		})
	}
}
