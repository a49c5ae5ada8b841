// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// The node of the tests' pods, and the service that they ask.
const (
	podSpace   = 9
	nodeSpace  = 7
	serviceDNS = "10.96.0.10:53"
)

// cluster knows a node with rules for the DNS service, a pod with an address, and what the pod's resolv.conf names.
func cluster(nameserver string, more ...event.Fact) *State {
	dns := netip.MustParseAddrPort(serviceDNS)
	server := netip.MustParseAddr(nameserver)
	return learnt(append([]event.Fact{
		{Service: &event.ServiceFact{Source: "iptables", Netns: nodeSpace, Namespace: "kube-system", Name: "kube-dns", Addrs: []netip.Addr{dns.Addr()},
			Ports: []event.ServicePort{{Proto: "udp", Port: 53, Known: true, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.244.1.3:53")}}}}},
		{ServiceRules: &event.ServiceRules{Netns: nodeSpace, Proto: "udp", Addr: dns, State: event.ServicePresent, Hooks: []string{"prerouting", "output"}}},
		{Device: &event.Device{Netns: podSpace, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.2/24")}}},
		{Device: &event.Device{Netns: nodeSpace, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}},
		{Resolv: &event.ResolvConf{Netns: podSpace, Nameservers: []netip.Addr{server}, Search: []string{"default.svc.cluster.local"}}},
		{Service: &event.ServiceFact{Source: "resolv", Netns: podSpace, Addrs: []netip.Addr{server}, Ports: []event.ServicePort{{Proto: "udp", Port: 53}}}},
	}, more...))
}

// askedAt is a query of the pod at a namespace, and its drop.
func askedAt(netns uint32, server string, d event.Drop) (event.Event, event.Drop) {
	to := netip.MustParseAddrPort(server)
	return event.Event{
		Header: event.Header{Netns: netns, Iface: "eth0", Ifindex: 2},
		Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: netip.MustParseAddr("10.244.1.2"), Sport: 40000, Dst: to.Addr(), Dport: to.Port()},
		Body:   d,
	}, d
}

// passed is the entry of a query that the rules left as it was.
func passed(server string) *event.Conntrack {
	f := packet.FlowTuple{Src: netip.MustParseAddrPort("10.244.1.2:40000"), Dst: netip.MustParseAddrPort(server)}
	return event.NewConntrack(f, f.Reverse())
}

func TestAPacketIsUntranslatedOnlyWhereTheRulesHadTheirTurn(t *testing.T) {
	mesh := event.Fact{ServiceRules: &event.ServiceRules{Netns: podSpace, Proto: "udp", Addr: netip.MustParseAddrPort(serviceDNS), State: event.ServiceNone}}
	lost := event.Fact{ServiceRules: &event.ServiceRules{Netns: nodeSpace, Proto: "udp", Addr: netip.MustParseAddrPort(serviceDNS), State: event.ServiceMissing}}
	own := event.Fact{Device: &event.Device{Netns: nodeSpace, Ifindex: 1, Name: "lo", Addrs: []netip.Prefix{netip.MustParsePrefix("10.96.0.10/32")}}}
	for _, c := range []struct {
		name  string
		know  *State
		netns uint32
		drop  event.Drop
		want  string
	}{
		{"the pod's gateway is silent", cluster("10.96.0.10"), podSpace, event.Drop{Reason: "NEIGH_FAILED", Location: "neigh_invalidate"}, "neighbour-failed"},
		{"and the pod has rules of a mesh", cluster("10.96.0.10", mesh), podSpace, event.Drop{Reason: "NEIGH_FAILED", Conntrack: passed(serviceDNS)}, "neighbour-failed"},
		{"the pod has no route", cluster("10.96.0.10"), podSpace, event.Drop{Reason: "IP_OUTNOROUTES"}, "no-route"},
		{"a queue of the pod is full", cluster("10.96.0.10"), podSpace, event.Drop{Reason: "QDISC_DROP"}, "queue-drop"},
		{"tc takes it as it comes", cluster("10.96.0.10"), nodeSpace, event.Drop{Reason: "TC_INGRESS"}, "bpf-drop"},
		{"a bridge takes it", cluster("10.96.0.10"), nodeSpace, event.Drop{Reason: "BRIDGE_INGRESS_STP_STATE"}, "kernel-drop"},
		{"a raw rule takes it", cluster("10.96.0.10"), nodeSpace, event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"}, "netfilter-drop"},
		{"the reverse path is another", cluster("10.96.0.10"), nodeSpace, event.Drop{Reason: "IP_RPFILTER"}, "rp-filter"},
		{"nothing listens at the node's own", cluster("10.96.0.10", own), nodeSpace, event.Drop{Reason: "NO_SOCKET", Location: "__udp4_lib_rcv"}, ""},
		{"though it is tracked", cluster("10.96.0.10", own), nodeSpace, event.Drop{Reason: "NO_SOCKET", Conntrack: passed(serviceDNS)}, ""},
		{"its socket is full", cluster("10.96.0.10", own), nodeSpace, event.Drop{Reason: "SOCKET_RCVBUFF", Conntrack: passed(serviceDNS)}, "socket-buffer-full"},
		{"the rules lost it", cluster("10.96.0.10", lost), nodeSpace, event.Drop{Reason: "NEIGH_FAILED", Conntrack: passed(serviceDNS)}, "service-dnat-miss"},
		{"and a policy drops what is left", cluster("10.96.0.10", lost), nodeSpace,
			event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Conntrack: passed(serviceDNS)}, "service-dnat-miss"},
		{"it leaves and dies beyond", cluster("10.96.0.10", lost), 11, event.Drop{Reason: "IP_INADDRERRORS", Location: "ip_error"}, "service-dnat-miss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, d := askedAt(c.netns, serviceDNS, c.drop)
			if f, _ := c.know.Proves(e, d); f.ID != c.want {
				t.Errorf("got %q: %s, want %q", f.ID, f.Title, c.want)
			}
		})
	}
}

func TestAServerOfAResolvConfIsBadOnlyInTheRangeOfServices(t *testing.T) {
	dropNFT := event.Fact{Service: &event.ServiceFact{Source: "nftables", Netns: nodeSpace, CIDR: netip.MustParsePrefix("10.96.0.0/12")}}
	api := event.Fact{Service: &event.ServiceFact{Source: "api", Namespace: "shop", Name: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.98.4.4")}}}
	for _, c := range []struct {
		name, server string
		more         []event.Fact
		sure         event.Confidence // "": nothing to say
	}{
		{"beside the DNS service", "10.96.0.99", nil, event.Certain},
		{"in the same range of usual size", "10.96.7.99", nil, event.Likely},
		{"between services", "10.97.0.99", []event.Fact{api}, event.Certain},
		{"in the range that the rules name", "10.111.0.99", []event.Fact{dropNFT}, event.Certain},
		{"another network's", "10.9.0.2", nil, ""},
		{"the Internet's", "1.1.1.1", nil, ""},
		{"of the link", "169.254.20.10", nil, ""},
		{"the DNS service itself", "10.96.0.10", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := cluster(c.server, c.more...)
			e, _ := askedAt(nodeSpace, c.server+":53", event.Drop{})
			f, _ := st.askedNoServer(e)
			if f.Confidence != c.sure || (c.sure != "") != (f.ID == "dns-bad-resolv-conf") {
				t.Errorf("got %q %q, want %q", f.ID, f.Confidence, c.sure)
			}
			if _, known := st.serviceTo(e); known != (c.sure != "" || c.server == "10.96.0.10") {
				t.Errorf("taken for a service: %v", known)
			}
		})
	}
}

// TestAnEnvironmentIsTheWeakestSource: it is for who has it, and says nothing where others know.
func TestAnEnvironmentIsTheWeakestSource(t *testing.T) {
	env := func(netns uint32, addr string) event.Fact {
		return event.Fact{Service: &event.ServiceFact{Source: "env", Netns: netns, Addrs: []netip.Addr{netip.MustParseAddr(addr)},
			Ports: []event.ServicePort{{Proto: "udp", Port: 53}}}}
	}
	pod := event.Fact{Device: &event.Device{Netns: podSpace, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.2/24")}}}
	for _, c := range []struct {
		name, asked string
		know        *State
		netns       uint32
		source      string // "": it is no service
	}{
		{"where nothing else is known", "10.96.0.1:53", learnt([]event.Fact{env(podSpace, "10.96.0.1"), pod}), nodeSpace, "env"},
		{"in the pod itself", "10.96.0.1:53", learnt([]event.Fact{env(podSpace, "10.96.0.1"), pod}), podSpace, "env"},
		{"another pod's", "10.96.0.1:53", learnt([]event.Fact{env(99, "10.96.0.1"), pod}), nodeSpace, ""},
		{"an address of the Internet's", "8.8.8.8:53", learnt([]event.Fact{env(podSpace, "8.8.8.8"), pod}), nodeSpace, ""},
		{"rules know better", serviceDNS, cluster("10.96.0.10", env(podSpace, "10.96.0.10")), nodeSpace, "iptables"},
		{"rules know others", "10.50.0.1:53", cluster("10.96.0.10", env(podSpace, "10.50.0.1")), nodeSpace, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, _ := askedAt(c.netns, c.asked, event.Drop{})
			if s, _ := c.know.serviceTo(e); s.Source != c.source {
				t.Errorf("known from %q, want %q", s.Source, c.source)
			}
		})
	}
}
