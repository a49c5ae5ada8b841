// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// TestWhoIsToForwardIsAskedForForwarding: every pod's namespace has ip_forward=0. Whether a packet was for it, or was to
// be passed on, says the route of who sent it there.
func TestWhoIsToForwardIsAskedForForwarding(t *testing.T) {
	const pod, node, far = 7, 8, 9
	src, dst := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.244.1.2")
	e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: pod, Ifindex: 2, Iface: "eth0"},
		Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Src: src, Sport: 40000, Dst: dst, Dport: 80, TTL: 63}}
	about := event.KeyOf(e)
	veth := event.Device{Netns: pod, Ifindex: 2, Name: "eth0", Type: "veth", PeerNetns: node, PeerIndex: 3}
	lone, second := veth, event.Device{Netns: pod, Ifindex: 4, Name: "net1"}
	lone.PeerNetns = 0
	onLink := event.Route{About: about.At(node, 3), Dst: dst, Type: "unicast", Out: "veth1"}
	routed := onLink
	routed.Gateway = netip.MustParseAddr("10.244.1.1")
	gone := event.Route{About: about, Dst: dst, Errno: "EHOSTUNREACH"}
	back := event.Route{About: about, Reverse: true, Dst: src, Type: "unicast"}
	own := event.Route{About: about, Reverse: true, Dst: src, Type: "local"}
	for _, tt := range []struct {
		name, reason, location string
		devices                []event.Device
		routes                 []event.Route
		home                   uint32
		id                     string
		sure                   event.Confidence
		title                  string
	}{
		{"the neighbour has it on the link", "IP_INADDRERRORS", "ip_error", []event.Device{veth}, []event.Route{onLink, gone, back}, node,
			"no-route", event.Certain, "where no device has that address"},
		{"the same before 5.17", event.ReasonNotReported, "ip_error", []event.Device{veth}, []event.Route{onLink, gone, back}, node,
			"no-route", event.Certain, "where no device has that address"},
		{"it may be that it was to be passed on, but there is one device", "IP_INADDRERRORS", "ip_error", []event.Device{lone}, []event.Route{gone, back}, node,
			"no-route", event.Likely, "where no device has that address"},
		{"the neighbour takes it for a router", "IP_INADDRERRORS", "ip_error", []event.Device{veth, second}, []event.Route{routed, gone, back}, node,
			"ip-forward-disabled", event.Certain, "does not forward"},
		{"the neighbour takes for a router what has one device", "IP_INADDRERRORS", "ip_error", []event.Device{veth}, []event.Route{routed, gone, back}, node,
			"ip-forward-disabled", event.Likely, "does not forward"},
		{"it has two devices", "IP_INADDRERRORS", "ip_error", []event.Device{lone, second}, []event.Route{gone, back}, node,
			"ip-forward-disabled", event.Certain, "does not forward"},
		{"it is the node", "IP_INADDRERRORS", "ip_error", []event.Device{lone}, []event.Route{gone, back}, pod,
			"ip-forward-disabled", event.Certain, "does not forward"},
		{"its source went", "IP_OUTNOROUTES", "__ip_queue_xmit", []event.Device{lone}, []event.Route{gone, back}, node,
			"no-route", event.Certain, "use the source address 10.9.0.2"},
		{"it has a source, and no route", "IP_OUTNOROUTES", "__ip_queue_xmit", []event.Device{lone}, []event.Route{gone, own}, node,
			"no-route", event.Certain, "There is no route"},
		{"no host answers for it there", "NEIGH_FAILED", "arp_error_report", []event.Device{{Netns: pod, Ifindex: 2, Name: "eth0", PeerNetns: far, PeerIndex: 3}},
			[]event.Route{{About: about, Dst: dst, Type: "unicast", Out: "eth0"}, {About: about.At(far, 3), Dst: dst, Errno: "EHOSTUNREACH"}}, node,
			"neighbour-failed", event.Certain, "on no device of netns 9"},
		{"a host has it there, and is silent", "NEIGH_FAILED", "arp_error_report", []event.Device{{Netns: pod, Ifindex: 2, Name: "eth0", PeerNetns: far, PeerIndex: 3}},
			[]event.Route{{About: about, Dst: dst, Type: "unicast", Out: "eth0"}, {About: about.At(far, 3), Dst: dst, Type: "local"}}, node,
			"neighbour-failed", event.Certain, "does not answer ARP on eth0, so"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			facts := []event.Fact{{Node: &event.Node{Netns: tt.home}}, {Sysctl: &event.Sysctl{Netns: pod, Key: "net.ipv4.ip_forward", Value: "0"}}}
			for i := range tt.devices {
				facts = append(facts, event.Fact{Device: &tt.devices[i]})
			}
			for i := range tt.routes {
				facts = append(facts, event.Fact{Route: &tt.routes[i]})
			}
			f, _ := learnt(facts).Proves(e, event.Drop{Reason: tt.reason, Location: tt.location})
			if f.ID != tt.id || f.Confidence != tt.sure || !strings.Contains(f.Title, tt.title) {
				t.Errorf("%s %s %q, want %s %s with %q", f.ID, f.Confidence, f.Title, tt.id, tt.sure, tt.title)
			}
		})
	}
}

// TestAnOverlapIsSaidWithTheRouteThatWins: docker0 may have a range that pods or services have, too.
func TestAnOverlapIsSaidWithTheRouteThatWins(t *testing.T) {
	dst := netip.MustParseAddr("10.244.1.9")
	e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, Ifindex: 2, Iface: "docker0"},
		Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Src: netip.MustParseAddr("10.9.0.2"), Sport: 40000, Dst: dst, Dport: 80}}
	way := event.Route{About: event.KeyOf(e), Dst: dst, Type: "unicast", Out: "docker0"}
	device := func(name, prefix string) event.Fact {
		return event.Fact{Device: &event.Device{Netns: 7, Name: name, Type: "bridge", Addrs: []netip.Prefix{netip.MustParsePrefix(prefix)}}}
	}
	for _, tt := range []struct {
		name  string
		facts []event.Fact
		said  string
	}{
		{"the pods' bridge", []event.Fact{device("docker0", "10.244.1.1/24"), device("cni0", "10.244.0.1/16")}, "its range 10.244.1.0/24 overlaps that of cni0, 10.244.0.0/16"},
		{"the services", []event.Fact{device("docker0", "10.244.0.1/16"), {Service: &event.ServiceFact{Source: "cidr", CIDR: netip.MustParsePrefix("10.244.0.0/20")}}}, "overlaps that of the services"},
		{"neither", []event.Fact{device("docker0", "10.244.0.1/16"), device("cni0", "10.245.0.1/16")}, "does not answer ARP on docker0"},
	} {
		f, _ := learnt(append(tt.facts, event.Fact{Route: &way})).Proves(e, event.Drop{Reason: "NEIGH_FAILED", Location: "neigh_invalidate"})
		if text := f.Title + strings.Join(f.Evidence, " "); !strings.Contains(text, tt.said) || strings.Contains(text, "overlap") != strings.Contains(tt.said, "overlap") {
			t.Errorf("%s: %s %q %q", tt.name, f.ID, f.Title, f.Evidence)
		}
	}
}

// TestADeviceWithoutACarrierHasNoNeighbours: that no host answers is no wonder. An overlap is deeper: docker0 has none, as a rule.
func TestADeviceWithoutACarrierHasNoNeighbours(t *testing.T) {
	dst := netip.MustParseAddr("10.9.0.2")
	e := event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, Ifindex: 2, Iface: "eth1"},
		Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Src: netip.MustParseAddr("10.244.1.2"), Sport: 40000, Dst: dst, Dport: 80}}
	for carries, title := range map[bool]string{true: "10.9.0.2 does not answer ARP on eth1, so", false: "Device eth1 has no carrier, so no host on it answers ARP,"} {
		f, _ := learnt([]event.Fact{
			{Route: &event.Route{About: event.KeyOf(e), Dst: dst, Type: "unicast", Out: "eth1"}},
			{Neighbour: &event.Neighbour{Netns: 7, Iface: "eth1", Addr: dst, State: "failed", NoCarrier: !carries}},
		}).Proves(e, event.Drop{Reason: "NEIGH_FAILED", Location: "neigh_invalidate"})
		if f.ID != "neighbour-failed" || !strings.HasPrefix(f.Title, title) {
			t.Errorf("a carrier: %v: %s %q, want %q", carries, f.ID, f.Title, title)
		}
	}
}
