// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ktrace/decoder/event"
)

// policies is what kube-proxy writes, in iptables mode, of a service whose policies want an endpoint on this node, and that
// has none there; of one behind a load balancer; and what is left of a DNS cache.
const policies = `*raw
:PREROUTING ACCEPT [0:0]
[0:0] -A PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j CT --notrack
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-SERVICES - [0:0]
[0:0] -A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
[0:0] -A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
[0:0] -A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "shop/front:http has no local endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DROP
[0:0] -A KUBE-SERVICES -d 10.96.5.5/32 -p tcp -m comment --comment "shop/agent has no local endpoints" -m tcp --dport 80 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXT-LB - [0:0]
:KUBE-FW-LB - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-DNS - [0:0]
:KUBE-SVC-LB - [0:0]
[0:0] -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
[0:0] -A KUBE-EXT-LB -j KUBE-SVC-LB
[0:0] -A KUBE-FW-LB -m comment --comment "shop/lb:http loadbalancer IP" -j KUBE-EXT-LB
[0:0] -A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.0.2:80
[0:0] -A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-DNS
[0:0] -A KUBE-SERVICES -d 192.0.2.9/32 -p tcp -m comment --comment "shop/lb:http loadbalancer IP" -m tcp --dport 80 -j KUBE-FW-LB
[0:0] -A KUBE-SVC-DNS -p udp -m udp -j DNAT --to-destination 10.244.0.2:53
[0:0] -A KUBE-SVC-LB -j KUBE-SEP-A
COMMIT
`

func TestPoliciesAndHooksOfAService(t *testing.T) {
	rs := parse(t, policies)
	at := func(proto uint8, to string) event.ServiceRules {
		f, _ := rs.ServiceRules(7, newPacket(proto, "10.244.1.2:40000", to, NoHook))
		return f
	}
	if f := at(protoTCP, "10.96.5.5:80"); f.State != event.ServiceNoLocal || f.Service != "shop/agent" {
		t.Errorf("no local endpoints: %+v", f)
	}
	if f := at(protoTCP, "10.9.0.1:30080"); f.NodePort != "shop/front:http" || f.State != event.ServiceMissing {
		t.Errorf("the node's port: %+v", f)
	}
	dns := at(protoUDP, "10.96.0.10:53")
	if !slices.Equal(dns.Hooks, []string{"prerouting"}) || !strings.HasSuffix(dns.Untracked, "-j CT --notrack") {
		t.Errorf("translated at %q, untracked by %q", dns.Hooks, dns.Untracked)
	}
	i := slices.IndexFunc(rs.Services(7), func(f event.ServiceFact) bool { return f.Name == "lb" })
	if i < 0 {
		t.Fatal("the service behind a load balancer is missing")
	}
	lb := rs.Services(7)[i]
	if len(lb.Addrs) > 0 || !slices.Equal(lb.External, []netip.Addr{netip.MustParseAddr("192.0.2.9")}) || len(lb.Ports[0].Endpoints) != 1 {
		t.Errorf("the load balancer's address: %+v", lb)
	}
}

// TestAddressesThatNoMapNames: of nftables mode.
func TestAddressesThatNoMapNames(t *testing.T) {
	rs := nftables(t)
	for _, table := range rs.Tables {
		if m := table.Sets["service-ips"]; m != nil {
			m.Elements = nil // lost
		}
	}
	facts := rs.Services(7)
	i := slices.IndexFunc(facts, func(f event.ServiceFact) bool {
		return f.Name == "" && slices.Contains(f.Addrs, netip.MustParseAddr("10.96.0.10"))
	})
	if i < 0 || facts[i].Source != "nftables" {
		t.Errorf("the address of kube-dns is not among %+v", facts)
	}
}

func TestPrefixOfARange(t *testing.T) {
	for _, c := range []struct{ lo, hi, want string }{
		{"10.96.0.0", "10.111.255.255", "10.96.0.0/12"},
		{"10.96.0.1", "10.96.0.1", "10.96.0.1/32"},
		{"10.96.0.1", "10.96.0.9", ""},
		{"fd00:96::", "fd00:96::ffff", "fd00:96::/112"},
	} {
		p, ok := prefixOf(netip.MustParseAddr(c.lo).AsSlice(), netip.MustParseAddr(c.hi).AsSlice())
		if ok != (c.want != "") || ok && p.String() != c.want {
			t.Errorf("%s to %s: %v %v, want %q", c.lo, c.hi, p, ok, c.want)
		}
	}
}
