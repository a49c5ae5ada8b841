// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
)

// TestAPodsOwnAddressBeyondTheNode: it is the cause where nothing shows that answers find back to it.
func TestAPodsOwnAddressBeyondTheNode(t *testing.T) {
	const pod, far, public = "10.244.1.2:40000", "10.77.0.1:80", "93.184.216.34:80"
	device := event.Fact{Device: &event.Device{Netns: 1, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}}
	passed := func(dir event.Direction, src, dst string, c *event.Conntrack) event.Event {
		return event.Event{Header: event.Header{Netns: 1, Ifindex: 2, Iface: "eth0", Direction: dir}, Packet: eventtest.Packet("tcp", src, dst, "S"), Body: event.Hop{Conntrack: c}}
	}
	own := func(dst string) *event.Conntrack {
		return event.NewConntrack(eventtest.Flow(pod, dst), eventtest.Flow(dst, pod))
	}
	masked := event.NewConntrack(eventtest.Flow("10.244.1.3:40000", far), eventtest.Flow(far, "10.9.0.1:40000"))
	for _, c := range []struct {
		name   string
		before []event.Event
		device event.Fact
		dst    string
		change func(*event.Flow)
		id     string
		sure   event.Confidence
	}{
		{"no more is known", nil, device, far, nil, "not-masqueraded", event.Possible},
		{"others are masqueraded", []event.Event{passed(event.Out, "10.9.0.1:40000", far, masked)}, device, far, nil, "not-masqueraded", event.Likely},
		{"to the Internet", nil, device, public, nil, "not-masqueraded", event.Likely},
		{"the network has a route back", []event.Event{passed(event.In, "10.77.0.2:80", pod, own("10.77.0.2:80"))}, device, far, nil, "connect-no-response", ""},
		{"a node without conntrack", nil, device, far, func(f *event.Flow) { f.Last.Conntrack = nil }, "not-masqueraded", event.Possible},
		{"a node without conntrack, and a route back", []event.Event{{Header: event.Header{Netns: 1, Ifindex: 2, Iface: "eth0", Direction: event.In},
			Packet: eventtest.Packet("tcp", "10.77.0.2:80", pod, "S."), Body: event.Hop{}}}, device, far, nil, "connect-no-response", ""},
		{"the host answers others", nil, device, far, func(f *event.Flow) { f.HostAnswered = 1 }, "connect-no-response", ""},
		{"it is masqueraded", nil, device, far, func(f *event.Flow) {
			f.Last.Conntrack = event.NewConntrack(eventtest.Flow(pod, far), eventtest.Flow(far, "10.9.0.1:40000"))
		}, "connect-no-response", ""},
		{"a tunnel", nil, event.Fact{Device: &event.Device{Netns: 1, Ifindex: 2, Name: "eth0", Type: "vxlan", Addrs: device.Device.Addrs}}, far, nil, "connect-no-response", ""},
		{"the pods' own network", nil, event.Fact{Device: &event.Device{Netns: 1, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.1/24")}}}, far, nil, "connect-no-response", ""},
		{"the node itself asks", nil, device, far, func(f *event.Flow) { f.ClientNetns = 1 }, "connect-no-response", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := learnt([]event.Fact{c.device})
			for _, e := range c.before {
				state.Observe(e)
			}
			flow := eventtest.Flow(pod, c.dst)
			f := event.Flow{State: event.FlowFailed, Error: "ETIMEDOUT", SYNs: 7, Server: flow.Dst, ClientNetns: 3, Local: true, Unanswered: 1,
				Last: &event.Sight{Netns: 1, Iface: "eth0", Direction: event.Out, Flow: flow, Conntrack: own(c.dst)}}
			if c.change != nil {
				c.change(&f)
			}
			found := state.Grade(NewConnects(state)).Observe(event.Event{Packet: eventtest.Packet("tcp", pod, c.dst, "S"), Body: f})
			if len(found) != 1 || found[0].ID != c.id || c.sure != "" && found[0].Confidence != c.sure {
				t.Errorf("got %+v, want %s %s", found, c.sure, c.id)
			}
		})
	}
}
