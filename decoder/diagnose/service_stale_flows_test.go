// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// web is a service with one port and the endpoints given, as a source knows it.
func web(source, system string, netns uint32, endpoints ...string) event.ServiceFact {
	s := event.ServiceFact{Source: source, System: system, Netns: netns, Namespace: "shop", Name: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.80")},
		Ports: []event.ServicePort{{Proto: "tcp", Port: 80, Known: true}, {Proto: "udp", Port: 80, Known: true}}}
	for _, e := range endpoints {
		for i := range s.Ports {
			s.Ports[i].Endpoints = append(s.Ports[i].Endpoints, netip.MustParseAddrPort(e))
		}
	}
	return s
}

// ending makes an endpoint one that ends, and still serves.
func ending(s event.ServiceFact, e string) event.ServiceFact {
	for i := range s.Ports {
		s.Ports[i].Ending = []netip.AddrPort{netip.MustParseAddrPort(e)}
	}
	return s
}

// hopTo is a packet of a flow to the service on its way to a backend, or the answer on its way back.
func hopTo(proto, flags, backend string, answer bool) event.Event {
	client, service, to := netip.MustParseAddrPort("10.244.1.2:40000"), netip.MustParseAddrPort("10.96.0.80:80"), netip.MustParseAddrPort(backend)
	c := event.NewConntrack(packet.FlowTuple{Src: client, Dst: service}, packet.FlowTuple{Src: to, Dst: client})
	from, at := client, to
	if answer {
		from, at = service, client
	}
	return event.Event{
		Header: event.Header{Time: time.Unix(1000, 0), Netns: nodeSpace, Iface: "cni0", Ifindex: 3, Direction: event.Out, Journey: 5},
		Packet: &packet.Packet{Family: "ipv4", Proto: proto, Flags: flags, Src: from.Addr(), Sport: from.Port(), Dst: at.Addr(), Dport: at.Port()},
		Body:   event.Hop{Conntrack: c},
	}
}

func TestBackendsAreComparedWithEndpoints(t *testing.T) {
	const here, gone = "10.244.1.4:80", "10.244.1.3:80"
	rules := web("iptables", "iptables-nft", nodeSpace, here)
	before := web("iptables", "iptables-nft", nodeSpace, here, gone)
	none := web("iptables", "iptables-nft", nodeSpace)
	other := event.Fact{ServiceRules: &event.ServiceRules{Netns: nodeSpace, Proto: "tcp", Addr: netip.MustParseAddrPort("10.96.0.80:80"), State: event.ServicePresent,
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort(here), netip.MustParseAddrPort(gone)}}}
	syn, answered, refused := hopTo("tcp", "S", gone, false), hopTo("tcp", "S.", gone, true), hopTo("tcp", "R.", gone, true)
	datagram, reply := hopTo("udp", "", gone, false), hopTo("udp", "", gone, true)
	for _, c := range []struct {
		name    string
		facts   []event.Fact
		packets []event.Event
		want    event.Severity // "": nothing to say
	}{
		{"an endpoint", serviceFacts(before), []event.Event{syn}, ""},
		{"none", serviceFacts(rules), []event.Event{syn}, event.Critical},
		{"none, by the rules of another cluster's node on the machine", serviceFacts(web("iptables", "iptables-nft", nodeSpace+7, here)), []event.Event{syn, refused}, ""},
		{"none, and refuses", serviceFacts(rules), []event.Event{syn, refused}, event.Critical},
		{"none, and refuses, and another answers then", serviceFacts(rules), []event.Event{syn, refused, hopTo("tcp", "S", here, false), hopTo("tcp", "S.", here, true)}, event.Critical},
		{"none, and answers", serviceFacts(rules), []event.Event{syn, answered}, event.Warning},
		{"a flow of datagrams that is answered", serviceFacts(rules), []event.Event{datagram, reply}, event.Info},
		{"a flow of datagrams that is not", serviceFacts(rules), []event.Event{datagram}, event.Critical},
		{"a connection that goes on", serviceFacts(rules), []event.Event{hopTo("tcp", "P.", gone, false)}, ""},
		{"an endpoint that left a moment before", serviceFacts(before, rules), []event.Event{syn}, ""},
		{"one that is ending, for the API", serviceFacts(rules, ending(web("api", "", 0, here), gone)), []event.Event{syn}, ""},
		{"one that only the API has yet", serviceFacts(rules, web("api", "", 0, here, gone)), []event.Event{syn}, ""},
		{"one that another rule names", append(serviceFacts(rules), other), []event.Event{syn}, ""},
		{"rules whose endpoints are not understood", serviceFacts(none), []event.Event{syn}, ""},
		{"rules of another node", serviceFacts(web("iptables", "iptables-nft", 99, here)), []event.Event{syn}, ""},
		{"rules of two systems", serviceFacts(rules, web("nftables", "nftables", nodeSpace, gone)), []event.Event{syn}, event.Critical},
		{"rules of two systems that agree", serviceFacts(before, web("nftables", "nftables", nodeSpace, gone, here)), []event.Event{syn}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := NewState()
			for _, f := range c.facts {
				st.Observe(event.Event{Header: event.Header{Time: syn.Time.Add(-time.Second)}, Body: f})
			}
			x := NewTranslations(st)
			for _, e := range c.packets {
				x.Stage().Observe(e)
			}
			x.Stage().Flush(syn.Time.Add(time.Second), false)
			found := st.Grade(x).Flush(syn.Time.Add(time.Second), false)
			if len(found) > 1 || (len(found) == 1) != (c.want != "") || len(found) == 1 && (found[0].Severity != c.want || found[0].ID != "service-stale-endpoint") {
				t.Errorf("got %+v, want %q", found, c.want)
			}
		})
	}
}
