// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

func TestNamesAreThoseOfTheNode(t *testing.T) {
	const address = 0xffffffff81000010
	dropped := event.Event{Header: event.Header{Netns: 7, Ifindex: 2}, Packet: &packet.Packet{}, Body: event.Drop{
		Reason: "unknown(0xc)", Location: "unknown(0xffffffff81000010)", Code: 12, Address: address,
	}}
	for _, c := range []struct {
		name                    string
		facts                   []event.Fact
		reason, location, iface string
	}{
		{"all reported", []event.Fact{
			{Node: &event.Node{Reasons: map[uint32]string{12: "NETFILTER_DROP"}}},
			{Device: &event.Device{Netns: 7, Ifindex: 2, Name: "eth0"}},
			{Symbol: &event.Symbol{Address: address, Name: "nf_hook_slow"}},
		}, "NETFILTER_DROP", "nf_hook_slow", "eth0"},
		{"a kernel without reasons", []event.Fact{{Node: &event.Node{}}}, event.ReasonNotReported, "unknown(0xffffffff81000010)", ""},
		{"another reason, another namespace, device gone", []event.Fact{
			{Node: &event.Node{Reasons: map[uint32]string{1: "CONSUMED"}}},
			{Device: &event.Device{Netns: 8, Ifindex: 2, Name: "eth1"}},
			{Device: &event.Device{Netns: 7, Ifindex: 2, Name: "eth0"}},
			{Device: &event.Device{Netns: 7, Ifindex: 2, Name: "eth0", Gone: true}},
		}, "unknown(0xc)", "unknown(0xffffffff81000010)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := NewNames()
			for _, f := range c.facts {
				n.Observe(event.Event{Body: f})
			}
			e := n.Observe(dropped)[0]
			d, ok := e.Body.(event.Drop)
			if !ok || d.Reason != c.reason || d.Location != c.location || e.Iface != c.iface {
				t.Errorf("got %+v at %q", e.Body, e.Iface)
			}
		})
	}
}

func TestReasonsOfResetsHaveTheKernelsNames(t *testing.T) {
	n := NewNames()
	n.Observe(event.Event{Body: event.Fact{Node: &event.Node{Resets: map[uint32]string{1: "NO_SOCKET"}}}})
	for code, want := range map[uint32]string{1: "NO_SOCKET", 99: "unknown(0x63)"} {
		e := n.Observe(event.Event{Body: event.Sock{ReasonCode: code, HasReasonCode: true}})[0]
		if got := e.Body.(event.Sock).Reason; got != want {
			t.Errorf("reason %d is %s, want %s", code, got, want)
		}
	}
	if got := n.Observe(event.Event{Body: event.Sock{ReasonCode: 1}})[0].Body.(event.Sock).Reason; got != "" {
		t.Errorf("a kernel that gives no reason gives %s", got)
	}
}
