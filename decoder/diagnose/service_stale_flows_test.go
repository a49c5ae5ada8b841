package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder"
)

// web is a service with one port and the endpoints given, as a source knows it.
func web(source, system string, netns uint32, endpoints ...string) decoder.ServiceFact {
	s := decoder.ServiceFact{Source: source, System: system, Netns: netns, Namespace: "shop", Name: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.80")},
		Ports: []decoder.ServicePort{{Proto: "tcp", Port: 80, Known: true}, {Proto: "udp", Port: 80, Known: true}}}
	for _, e := range endpoints {
		for i := range s.Ports {
			s.Ports[i].Endpoints = append(s.Ports[i].Endpoints, netip.MustParseAddrPort(e))
		}
	}
	return s
}

// ending makes an endpoint one that ends, and still serves.
func ending(s decoder.ServiceFact, e string) decoder.ServiceFact {
	for i := range s.Ports {
		s.Ports[i].Ending = []netip.AddrPort{netip.MustParseAddrPort(e)}
	}
	return s
}

// hopTo is a packet of a flow to the service on its way to a backend, or the answer on its way back.
func hopTo(proto, flags, backend string, answer bool) decoder.Event {
	client, service, to := netip.MustParseAddrPort("10.244.1.2:40000"), netip.MustParseAddrPort("10.96.0.80:80"), netip.MustParseAddrPort(backend)
	c := decoder.NewConntrack(decoder.FlowTuple{Src: client, Dst: service}, decoder.FlowTuple{Src: to, Dst: client})
	from, at := client, to
	if answer {
		from, at = service, client
	}
	return decoder.Event{
		Header: decoder.Header{Time: time.Unix(1000, 0), Netns: nodeSpace, Iface: "cni0", Ifindex: 3, Direction: decoder.Out, Journey: 5},
		Packet: &decoder.Packet{Family: "ipv4", Proto: proto, Flags: flags, Src: from.Addr(), Sport: from.Port(), Dst: at.Addr(), Dport: at.Port()},
		Body:   decoder.Hop{Conntrack: c},
	}
}

func TestBackendsAreComparedWithEndpoints(t *testing.T) {
	const here, gone = "10.244.1.4:80", "10.244.1.3:80"
	rules := web("iptables", "iptables-nft", nodeSpace, here)
	before := web("iptables", "iptables-nft", nodeSpace, here, gone)
	none := web("iptables", "iptables-nft", nodeSpace)
	other := decoder.Fact{ServiceRules: &decoder.ServiceRules{Netns: nodeSpace, Proto: "tcp", Addr: netip.MustParseAddrPort("10.96.0.80:80"), State: decoder.ServicePresent,
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort(here), netip.MustParseAddrPort(gone)}}}
	syn, answered, refused := hopTo("tcp", "S", gone, false), hopTo("tcp", "S.", gone, true), hopTo("tcp", "R.", gone, true)
	datagram, reply := hopTo("udp", "", gone, false), hopTo("udp", "", gone, true)
	for _, c := range []struct {
		name    string
		facts   []decoder.Fact
		packets []decoder.Event
		want    decoder.Severity // "": nothing to say
	}{
		{"an endpoint", serviceFacts(before), []decoder.Event{syn}, ""},
		{"none", serviceFacts(rules), []decoder.Event{syn}, decoder.Critical},
		{"none, by the rules of another cluster's node on the machine", serviceFacts(web("iptables", "iptables-nft", nodeSpace+7, here)), []decoder.Event{syn, refused}, ""},
		{"none, and refuses", serviceFacts(rules), []decoder.Event{syn, refused}, decoder.Critical},
		{"none, and refuses, and another answers then", serviceFacts(rules), []decoder.Event{syn, refused, hopTo("tcp", "S", here, false), hopTo("tcp", "S.", here, true)}, decoder.Critical},
		{"none, and answers", serviceFacts(rules), []decoder.Event{syn, answered}, decoder.Warning},
		{"a flow of datagrams that is answered", serviceFacts(rules), []decoder.Event{datagram, reply}, decoder.Info},
		{"a flow of datagrams that is not", serviceFacts(rules), []decoder.Event{datagram}, decoder.Critical},
		{"a connection that goes on", serviceFacts(rules), []decoder.Event{hopTo("tcp", "P.", gone, false)}, ""},
		{"an endpoint that left a moment before", serviceFacts(before, rules), []decoder.Event{syn}, ""},
		{"one that is ending, for the API", serviceFacts(rules, ending(web("api", "", 0, here), gone)), []decoder.Event{syn}, ""},
		{"one that only the API has yet", serviceFacts(rules, web("api", "", 0, here, gone)), []decoder.Event{syn}, ""},
		{"one that another rule names", append(serviceFacts(rules), other), []decoder.Event{syn}, ""},
		{"rules whose endpoints are not understood", serviceFacts(none), []decoder.Event{syn}, ""},
		{"rules of another node", serviceFacts(web("iptables", "iptables-nft", 99, here)), []decoder.Event{syn}, ""},
		{"rules of two systems", serviceFacts(rules, web("nftables", "nftables", nodeSpace, gone)), []decoder.Event{syn}, decoder.Critical},
		{"rules of two systems that agree", serviceFacts(before, web("nftables", "nftables", nodeSpace, gone, here)), []decoder.Event{syn}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := NewState()
			for _, f := range c.facts {
				st.Observe(decoder.Event{Header: decoder.Header{Time: syn.Time.Add(-time.Second)}, Body: f})
			}
			x := NewTranslations(st)
			for _, e := range c.packets {
				x.Stage().Observe(e)
			}
			x.Stage().Flush(syn.Time.Add(time.Second), false)
			found := x.Flush(syn.Time.Add(time.Second), false)
			if len(found) > 1 || (len(found) == 1) != (c.want != "") || len(found) == 1 && (found[0].Severity != c.want || found[0].ID != "service-stale-endpoint") {
				t.Errorf("got %+v, want %q", found, c.want)
			}
		})
	}
}
