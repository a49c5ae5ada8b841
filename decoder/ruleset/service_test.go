// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"ktrace/decoder/event"
)

// written is what kube-proxy in iptables mode writes: a service with two endpoints, one without, one whose rule in
// KUBE-SERVICES is gone.
const written = `*filter
:FORWARD ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
[0:0] -A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
[0:0] -A KUBE-SERVICES -d 10.96.7.7/32 -p tcp -m comment --comment "default/empty:web has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SEP-B - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-DNS - [0:0]
:KUBE-SVC-GONE - [0:0]
[0:0] -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
[0:0] -A KUBE-SEP-A -s 10.244.0.2/32 -m comment --comment "kube-system/kube-dns:dns" -j KUBE-MARK-MASQ
[0:0] -A KUBE-SEP-A -p udp -m comment --comment "kube-system/kube-dns:dns" -m udp -j DNAT --to-destination 10.244.0.2:53
[0:0] -A KUBE-SEP-B -p udp -m comment --comment "kube-system/kube-dns:dns" -m udp -j DNAT --to-destination 10.244.0.3:53
[0:0] -A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-DNS
[0:0] -A KUBE-SVC-DNS ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns cluster IP" -m udp --dport 53 -j KUBE-MARK-MASQ
[0:0] -A KUBE-SVC-DNS -m comment --comment "kube-system/kube-dns:dns -> 10.244.0.2:53" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A
[0:0] -A KUBE-SVC-DNS -m comment --comment "kube-system/kube-dns:dns -> 10.244.0.3:53" -j KUBE-SEP-B
COMMIT
`

func nftables(t testing.TB) *Ruleset {
	t.Helper()
	b, err := os.ReadFile("testdata/kube-proxy.nft")
	if err != nil {
		t.Fatal(err)
	}
	return parseNFTFile(b)
}

func TestServicesAreReadFromTheRulesOfKubeProxy(t *testing.T) {
	for mode, rs := range map[string]*Ruleset{"iptables": parse(t, written), "nftables": nftables(t)} {
		t.Run(mode, func(t *testing.T) {
			services := rs.Services(7)
			i := slices.IndexFunc(services, func(s event.ServiceFact) bool { return s.Name == "kube-dns" })
			if i < 0 {
				t.Fatalf("kube-dns is not among %+v", services)
			}
			dns := services[i]
			p := slices.IndexFunc(dns.Ports, func(p event.ServicePort) bool { return p.Proto == "udp" && p.Port == 53 && p.Name == "dns" })
			want := []netip.AddrPort{netip.MustParseAddrPort("10.244.0.2:53"), netip.MustParseAddrPort("10.244.0.3:53")}
			if dns.Namespace != "kube-system" || dns.Source != mode || dns.Netns != 7 || p < 0 || !slices.Equal(dns.Ports[p].Endpoints, want) {
				t.Errorf("got %+v, want kube-system/kube-dns with udp 53 to %v", dns, want)
			}
		})
	}
}

func TestTheStateOfTheRulesForAnAddressIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		rules *Ruleset
		addr  string
		proto uint8
		want  string
	}{
		"iptables: a service with endpoints is present":          {parse(t, written), "10.96.0.10:53", protoUDP, event.ServicePresent},
		"iptables: one without is refused":                       {parse(t, written), "10.96.7.7:80", protoTCP, event.ServiceNoEndpoints},
		"iptables: an address without rules is missing":          {parse(t, written), "10.96.9.9:80", protoTCP, event.ServiceMissing},
		"iptables: another protocol of the service is missing":   {parse(t, written), "10.96.0.10:53", protoTCP, event.ServiceMissing},
		"nftables: a service with endpoints is present":          {nftables(t), "10.96.0.10:53", protoUDP, event.ServicePresent},
		"nftables: one without is refused":                       {nftables(t), "10.96.7.7:80", protoTCP, event.ServiceNoEndpoints},
		"nftables: an address without rules is missing":          {nftables(t), "10.96.9.9:80", protoTCP, event.ServiceMissing},
		"without any rules there is none at all":                 {&Ruleset{}, "10.96.0.10:53", protoUDP, event.ServiceNone},
		"rules that are not for services are none at all":        {parse(t, "*nat\n:PREROUTING ACCEPT\nCOMMIT\n"), "10.96.0.10:53", protoUDP, event.ServiceNone},
		"a rule of somebody else that translates it counts, too": {parse(t, "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 10.96.0.10/32 -j DNAT --to-destination 10.9.0.2:53\nCOMMIT\n"), "10.96.0.10:53", protoUDP, event.ServicePresent},
		"one that translates another address does not help it":   {parse(t, "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 10.96.0.11/32 -j DNAT --to-destination 10.9.0.2:53\nCOMMIT\n"), "10.96.0.10:53", protoUDP, event.ServiceNone},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPacket(c.proto, "10.244.1.2:40000", c.addr, NoHook)
			got, _ := c.rules.ServiceRules(7, p)
			if got.State != c.want {
				t.Errorf("got %+v, want %s", got, c.want)
			}
		})
	}
}

func TestTheRuleOfAServiceIsQuoted(t *testing.T) {
	got, _ := parse(t, written).ServiceRules(7, newPacket(protoUDP, "10.244.1.2:40000", "10.96.0.10:53", NoHook))
	const want = `table nat: -A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-DNS`
	if got.Rule != want || got.Service != "kube-system/kube-dns:dns" || len(got.Endpoints) != 2 {
		t.Errorf("got %+v, want rule %s", got, want)
	}
}
