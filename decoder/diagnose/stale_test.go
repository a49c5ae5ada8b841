package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"ktrace/decoder"
)

func TestEndpointThatTheSliceHasNoMore(t *testing.T) {
	service, gone, there := netip.MustParseAddrPort("10.96.0.1:80"), netip.MustParseAddrPort("10.0.0.9:8080"), netip.MustParseAddrPort("10.0.0.8:8080")
	tell := func(source string, netns uint32, endpoints ...netip.AddrPort) decoder.Fact {
		return decoder.Fact{Service: &decoder.ServiceFact{Namespace: "shop", Name: "web", Source: source, Netns: netns, Addrs: []netip.Addr{service.Addr()},
			Ports: []decoder.ServicePort{{Proto: "tcp", Port: 80, Known: true, Endpoints: endpoints}}}}
	}
	client := netip.MustParseAddrPort("10.0.0.2:40000")
	e := lostSYN()
	e.Packet.Src, e.Packet.Sport, e.Packet.Dst, e.Packet.Dport = client.Addr(), client.Port(), gone.Addr(), gone.Port()
	d := decoder.Drop{Reason: "IP_INADDRERRORS", Location: "ip_error",
		Conntrack: decoder.NewConntrack(decoder.FlowTuple{Src: client, Dst: service}, decoder.FlowTuple{Src: gone, Dst: client})}
	for _, c := range []struct {
		name  string
		facts []decoder.Fact
		says  string
	}{
		{"of neither", []decoder.Fact{tell("api", 0, there), tell("iptables", 7, there)}, "outlives the endpoint"},
		{"but the rules", []decoder.Fact{tell("api", 0, there), tell("iptables", 7, there, gone)}, "kube-proxy lags behind"},
		{"that it has", []decoder.Fact{tell("api", 0, there, gone), tell("iptables", 7, there)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, ok := staleEndpoint(learnt(c.facts), e, d)
			if ok != (c.says != "") || !strings.Contains(f.Title+f.Cause, c.says) {
				t.Errorf("%v: %s %s", ok, f.Title, f.Cause)
			}
		})
	}
}
