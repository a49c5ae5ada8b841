// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

func TestEndpointThatTheSliceHasNoMore(t *testing.T) {
	service, gone, there := netip.MustParseAddrPort("10.96.0.1:80"), netip.MustParseAddrPort("10.0.0.9:8080"), netip.MustParseAddrPort("10.0.0.8:8080")
	fact := func(source string, netns uint32, endpoints ...netip.AddrPort) event.Fact {
		return event.Fact{Service: &event.ServiceFact{Namespace: "shop", Name: "web", Source: source, Netns: netns, Addrs: []netip.Addr{service.Addr()},
			Ports: []event.ServicePort{{Proto: "tcp", Port: 80, Known: true, Endpoints: endpoints}}}}
	}
	client := netip.MustParseAddrPort("10.0.0.2:40000")
	e := lostSYN()
	e.Packet.Src, e.Packet.Sport, e.Packet.Dst, e.Packet.Dport = client.Addr(), client.Port(), gone.Addr(), gone.Port()
	d := event.Drop{Reason: "IP_INADDRERRORS", Location: "ip_error",
		Conntrack: event.NewConntrack(packet.FlowTuple{Src: client, Dst: service}, packet.FlowTuple{Src: gone, Dst: client})}
	for _, c := range []struct {
		name  string
		facts []event.Fact
		says  string
	}{
		{"of neither", []event.Fact{fact("api", 0, there), fact("iptables", 7, there)}, "outlives the endpoint"},
		{"but the rules", []event.Fact{fact("api", 0, there), fact("iptables", 7, there, gone)}, "kube-proxy lags behind"},
		{"that it has", []event.Fact{fact("api", 0, there, gone), fact("iptables", 7, there)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, ok := staleEndpoint(learnt(c.facts), e, d)
			if ok != (c.says != "") || !strings.Contains(f.Title+f.Cause, c.says) {
				t.Errorf("%v: %s %s", ok, f.Title, f.Cause)
			}
		})
	}
}

// TestWhoGetsThePacketsOfAnEndpointThatIsGone is said where the drop shows it.
func TestWhoGetsThePacketsOfAnEndpointThatIsGone(t *testing.T) {
	e := lostSYN()
	link := &event.Route{About: event.KeyOf(e), Dst: e.Packet.Dst, Type: "unicast", Out: "eth0"}
	router := &event.Route{About: event.KeyOf(e), Dst: e.Packet.Dst, Type: "unicast", Out: "eth0", Gateway: netip.MustParseAddr("10.9.0.3")}
	for _, c := range []struct {
		reason, location, pod string
		way                   *event.Route
		want                  string
	}{
		{"NEIGH_FAILED", "neigh_invalidate", "", link, "No host on the link answers for the address."},
		{event.ReasonNotReported, "ndisc_error_report", "", link, "No host on the link answers for the address."},
		{"NEIGH_FAILED", "neigh_invalidate", "", router, ""},
		{"NEIGH_FAILED", "neigh_invalidate", "", nil, ""},
		{"NO_SOCKET", "tcp_v4_rcv", "", nil, "The host that has the address now gets the packets."},
		{"NO_SOCKET", "tcp_v4_rcv", "mail-0", nil, "The pod shop/mail-0 has the address now and gets the packets."},
		{"IP_INADDRERRORS", "ip_error", "", nil, ""},
	} {
		e.Pod, e.ToPod = event.Pod{}, false
		if c.pod != "" {
			e.Pod, e.ToPod = event.Pod{UID: "uid", Namespace: "shop", Name: c.pod}, true
		}
		st := NewState()
		if c.way != nil {
			st.Observe(event.Event{Body: event.Fact{Route: c.way}})
		}
		if got := strings.TrimSpace(st.takenBy(e, event.Drop{Reason: c.reason, Location: c.location})); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.reason, c.location, got, c.want)
		}
	}
}
