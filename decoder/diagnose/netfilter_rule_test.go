// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// ruled is a packet to an address and port that netfilter dropped, and what the node says of the rule.
func ruled(to string, rule *event.RuleFact, sure event.Confidence) (event.Event, []event.Fact) {
	dst := netip.MustParseAddrPort(to)
	e := event.Event{
		Header: event.Header{Time: time.Unix(1000, 0), Netns: 7, Ifindex: 2, Iface: "cni0"},
		Packet: &packet.Packet{Family: "ipv4", Proto: "tcp", Flags: "S", Src: netip.MustParseAddr("10.244.1.2"), Sport: 40000, Dst: dst.Addr(), Dport: dst.Port()},
		Body:   event.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Verdict: event.VerdictDrop},
	}
	if rule == nil {
		return e, nil
	}
	return e, []event.Fact{{DropRules: &event.DropRules{About: event.KeyOf(e), Hooks: []string{"forward"}, Confidence: sure,
		Candidates: []event.Candidate{{RuleFact: *rule, Fit: "yes"}}}}}
}

// TestOneRuleIsOneCause for all that it hits, and though the node does not say of each packet which rule it was.
func TestOneRuleIsOneCause(t *testing.T) {
	rule := func(chain string, number int, text string) *event.RuleFact {
		return &event.RuleFact{System: "iptables-nft", Family: "ipv4", Table: "filter", Chain: chain, Hook: "forward", Number: number, Text: text, Verdict: "drop"}
	}
	policy, web, dns := rule("FORWARD", 0, "-P FORWARD DROP"), rule("FORWARD", 1, "-A FORWARD -p tcp --dport 80 -j DROP"), rule("FORWARD", 2, "-A FORWARD -p tcp --dport 53 -j DROP")
	type packet struct {
		to   string
		rule *event.RuleFact
	}
	many := func(n int, known *event.RuleFact) (all []packet) {
		for i := range n {
			all = append(all, packet{fmt.Sprintf("198.51.100.%d:443", i+1), known})
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		packets []packet
		want    int
	}{
		{"a policy, and everybody", many(80, policy), 1},
		{"a policy, of which the node says late", append(many(40, nil), many(80, policy)[40:]...), 1},
		{"two rules", []packet{{"10.9.0.2:80", web}, {"10.9.0.3:80", web}, {"10.9.0.2:53", dns}}, 2},
		{"one rule, and a packet that it can have taken", []packet{{"10.9.0.2:80", web}, {"10.9.0.3:80", nil}}, 1},
		{"one rule, and a packet that another must have taken", []packet{{"10.9.0.2:80", web}, {"10.9.0.3:443", nil}}, 2},
		{"no rule is known", many(80, nil), 1},
	} {
		st := NewState()
		r := NewDrops(st)
		var folder event.Folder
		for _, p := range tt.packets {
			e, facts := ruled(p.to, p.rule, event.Certain)
			for _, f := range facts {
				st.Observe(event.Event{Body: f})
			}
			st.Observe(e)
			r.Observe(e)
		}
		for _, f := range r.Flush(time.Unix(1010, 0), true) {
			folder.Add(f)
		}
		all := folder.All()
		var count uint64
		for _, f := range all {
			count += f.Count
		}
		if len(all) != tt.want || count != uint64(len(tt.packets)) {
			t.Errorf("%s: %d findings of %d packets, want %d of %d", tt.name, len(all), count, tt.want, len(tt.packets))
		}
	}
}

// TestARuleThatRejectsDoesSoThoughAnswersAreKeptBack: the kernel limits how many ICMP errors it sends.
func TestARuleThatRejectsDoesSoThoughAnswersAreKeptBack(t *testing.T) {
	e, facts := ruled("10.9.0.2:80", &event.RuleFact{System: "iptables-nft", Family: "ipv4", Table: "filter", Chain: "FORWARD", Hook: "forward", Number: 1,
		Text: "-A FORWARD -p tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable", Verdict: "reject", Reject: "icmp-port-unreachable"}, event.Certain)
	st := learnt(facts)
	silent, _ := st.Proves(e, e.Body.(event.Drop))
	d := e.Body.(event.Drop)
	d.Verdict, d.Answer = event.VerdictReject, &event.Answer{Name: "port-unreachable"}
	answered, _ := st.Proves(of(e, d), d)
	if silent.ID != "netfilter-reject" || answered.ID != silent.ID || answered.Subject != silent.Subject {
		t.Errorf("answered it is %s of %s, not answered %s of %s", answered.ID, answered.Subject, silent.ID, silent.Subject)
	}
}

// TestTheRulesOfNetworkPoliciesAreNamedByThem: as each plugin writes them.
func TestTheRulesOfNetworkPoliciesAreNamedByThem(t *testing.T) {
	for _, tt := range []struct {
		table, chain, text string
		asked              []string
		title, remedy      string
	}{
		{"filter", "cali-pi-_4jmBLyQs8gwFZ0KJZR7", `-A cali-pi-_4jmBLyQs8gwFZ0KJZR7 -m comment --comment "cali:Hj8" -m comment --comment "Policy shop/knp.default.deny-web ingress" -j DROP`, nil,
			"The network policy shop/deny-web (Calico) drops packets to", "kubectl -n shop describe networkpolicy deny-web"},
		{"filter", "cali-tw-cali1234", `-A cali-tw-cali1234 -m comment --comment "cali:Xk" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP`, nil,
			"No network policy that selects the pod allows it: Calico drops", "kubectl get networkpolicies -A"},
		{"calico", "filter-cali-po-abc", `counter packets 1 bytes 60 drop comment "cali:a; Policy default.lockdown egress"`, nil,
			"The network policy default.lockdown (Calico) drops", "kubectl describe globalnetworkpolicies.crd.projectcalico.org default.lockdown"},
		{"filter", "KUBE-POD-FW-ABCDEF", `-A KUBE-POD-FW-ABCDEF -m comment --comment "rule to REJECT traffic destined for POD name:web-0 namespace: shop" -m mark ! --mark 0x10000/0x10000 -j REJECT`, nil,
			"No network policy that selects the pod shop/web-0 allows it: kube-router drops", "kubectl -n shop get networkpolicies"},
		{"filter", "KUBE-NWPLCY-XYZ", `-A KUBE-NWPLCY-XYZ -m comment --comment "rule to DROP traffic from source pods to dest pods selected by policy name deny-all namespace shop" -j DROP`, nil,
			"The network policy shop/deny-all (kube-router) drops", "kubectl -n shop describe networkpolicy deny-all"},
		{"filter", "ANTREA-POL-INGRESS-RULES", `-A ANTREA-POL-INGRESS-RULES -p tcp -m comment --comment "Antrea: for rule 1b, policy AntreaClusterNetworkPolicy:no-ssh" -m tcp --dport 22 -j DROP`, nil,
			"The network policy no-ssh (Antrea) drops", "kubectl describe clusternetworkpolicies.crd.antrea.io no-ssh"},
		{"filter", "cali-tw-cali1234", `-A cali-tw-cali1234 -m comment --comment "cali:Xk" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP`,
			[]string{"cali:a; cali:b; Policy shop/knp.default.deny-all ingress"},
			"The network policy shop/deny-all (Calico) selects the pod and does not allow packets to tcp 10.9.0.2:80: they are dropped.", "kubectl -n shop describe networkpolicy deny-all"},
		{"filter", "cali-tw-cali1234", `-A cali-tw-cali1234 -m comment --comment "cali:Xk" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP`,
			[]string{"cali:a; cali:b; KubernetesNetworkPolicy shop/deny-all ingress", "cali:c; cali:d; NetworkPolicy shop/default.team ingress", "cali:e; cali:f; GlobalNetworkPolicy default.all ingress"},
			"None of the network policies shop/deny-all, shop/default.team, default.all (Calico) that select the pod allows packets to", "kubectl -n shop describe networkpolicy deny-all"},
		{"filter", "cali-po-x", `-A cali-po-x -m comment --comment "cali:Xk" -m comment --comment "Policy kanp.adminnetworkpolicy.lockdown egress" -j DROP`, nil,
			"The network policy lockdown (Calico) drops", "kubectl describe adminnetworkpolicy lockdown"},
		{"filter", "cali-pi-x", `-A cali-pi-x -m comment --comment "cali:Xk" -m comment --comment "Policy shop/default.team ingress" -j DROP`, nil,
			"The network policy shop/default.team (Calico) drops", "kubectl -n shop describe networkpolicies.crd.projectcalico.org default.team"},
		{"filter", "KUBE-POD-FW-ABCDEF", `-A KUBE-POD-FW-ABCDEF -m comment --comment "rule to REJECT traffic destined for POD name:web-0 namespace: shop" -m mark ! --mark 0x10000/0x10000 -j REJECT`,
			[]string{"run through default egress network policy  chain; allow icmp echo requests", "run through nw policy deny-all", "run through nw policy web; rule to ACCEPT traffic from all sources to dest pods selected by policy name: web namespace shop"},
			"None of the network policies shop/deny-all, shop/web (kube-router) that select the pod shop/web-0 allows packets to", "kubectl -n shop describe networkpolicy deny-all"},
		{"kube-router-filter-ipv4", "KUBE-POD-FW-ABCDEF", `meta mark & 0x00010000 == 0x00000000 counter packets 1 bytes 60 reject comment "REJECT traffic destined for POD name:web-0"`,
			[]string{"common bi-directional traffic policy rules", "run through nw policy deny-all"},
			"The network policy deny-all (kube-router) selects the pod web-0 and does not allow", "kubectl get networkpolicies -A -o yaml --field-selector metadata.name=deny-all"},
		{"filter", "KUBE-NWPLCY-XYZ", `-A KUBE-NWPLCY-XYZ -m comment --comment "selected by policy name $(reboot) namespace a;b" -j DROP`, nil,
			"The network policy a;b/$(reboot) (kube-router) drops", "kubectl -n 'a;b' describe networkpolicy '$(reboot)'"},
		{"kube-network-policies", "postrouting", "ct state new queue to 101", nil, "The network policies of kube-network-policies:", "kubectl get networkpolicies -A"},
		{"filter", "CILIUM_FORWARD", `-A CILIUM_FORWARD -m comment --comment "cilium: any->pod" -j DROP`, nil, `A rule of Cilium ("cilium: any->pod"), which is no network policy's, drops`, "iptables-nft -t filter -nvL CILIUM_FORWARD"},
		{"filter", "FORWARD", `-A FORWARD -m comment --comment "mine" -j DROP`, nil, "A firewall rule (iptables-nft, filter chain FORWARD) drops", "iptables-nft -t filter"},
	} {
		e, facts := ruled("10.9.0.2:80", &event.RuleFact{System: "iptables-nft", Family: "ipv4", Table: tt.table, Chain: tt.chain, Hook: "forward", Number: 1, Text: tt.text, Verdict: "drop", Asked: tt.asked}, event.Certain)
		f, _ := learnt(facts).Proves(e, e.Body.(event.Drop))
		if f.ID != "netfilter-drop" || !strings.HasPrefix(f.Title, tt.title) || !strings.Contains(f.Remedy[0].Run, tt.remedy) {
			t.Errorf("%s: %s %q %q", tt.chain, f.ID, f.Title, f.Remedy)
		}
	}
}

// TestWhatTheInternetTriesIsNotMissed: a closed port is none the worse for a rule, unless a pod wanted it.
func TestWhatTheInternetTriesIsNotMissed(t *testing.T) {
	rule := &event.RuleFact{System: "nftables", Family: "inet", Table: "host", Chain: "input", Hook: "input", Text: "policy drop", Verdict: "drop"}
	for _, tt := range []struct {
		name  string
		pod   string
		port  uint16
		found *bool
		want  event.Severity
	}{
		{"a closed port", "", 23, new(bool), event.Info},
		{"an open port", "", 23, &[]bool{true}[0], event.Critical},
		{"not counted", "", 23, nil, event.Critical},
		{"a pod tried it", "uid", 23, new(bool), event.Critical},
		{"a node port", "", 30080, new(bool), event.Critical},
	} {
		e, facts := ruled(netip.AddrPortFrom(netip.MustParseAddr("10.9.0.1"), tt.port).String(), rule, event.Certain)
		e.Pod.UID = tt.pod
		if tt.found != nil {
			facts = append(facts, event.Fact{Socket: &event.Socket{About: event.KeyOf(e), Found: *tt.found}})
		}
		if f, _ := learnt(facts).Proves(e, e.Body.(event.Drop)); f.Severity != tt.want {
			t.Errorf("%s: %s, want %s: %q", tt.name, f.Severity, tt.want, f.Evidence)
		}
	}
}

// TestARuleIsOfNoPolicyThatDoesNotSaySo: plugins have rules besides, and policies others in the same chain.
func TestARuleIsOfNoPolicyThatDoesNotSaySo(t *testing.T) {
	const endOfTier = `-A cali-tw-x -m comment --comment "cali:a" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP`
	for _, tt := range []struct {
		name         string
		table, chain string
		text         string
		asked, heads []string
		title        string
	}{
		{"Calico's other rules", "filter", "cali-fw-x", `-A cali-fw-x -p udp -m comment --comment "cali:X5" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP`, nil, nil,
			`A rule of Calico ("Drop VXLAN encapped packets originating in workloads"), which is no network policy's, drops`},
		{"Calico's, of a device that it does not know", "calico", "filter-cali-to-wl-dispatch", `counter packets 1 bytes 60 drop comment "cali:Dr; Unknown interface"`, nil, nil,
			`A rule of Calico ("Unknown interface"), which is no network policy's, drops`},
		{"Calico's, that says nothing", "filter", "cali-tw-x", `-A cali-tw-x -m comment --comment "cali:U_" -j DROP`, nil, nil,
			`A rule of Calico, which is no network policy's, drops`},
		{"no profile", "filter", "cali-tw-x", `-A cali-tw-x -m comment --comment "cali:U_" -m comment --comment "Drop if no profiles matched" -j DROP`, []string{"cali:b; Profile kns.shop ingress"}, nil,
			`A rule of Calico ("Drop if no profiles matched"), which is no network policy's, drops`},
		{"a later rule of a policy", "filter", "cali-pi-x", `-A cali-pi-x -m comment --comment "cali:zz" -j DROP`, nil, []string{"cali:q", "cali:r", "GlobalNetworkPolicy lockdown ingress"},
			"The network policy lockdown (Calico) drops"},
		{"one of which nothing is known", "filter", "cali-pi-x", `-A cali-pi-x -m comment --comment "cali:zz" -j DROP`, nil, []string{"cali:q"}, "The network policies of Calico: a rule of theirs drops"},
		{"a policy of an earlier tier passed it on", "filter", "cali-tw-x", endOfTier,
			[]string{"Policy security.audit ingress", "Policy kanp.adminnetworkpolicy.all ingress", "Policy shop/knp.default.deny-all ingress", "Policy default.team ingress"}, nil,
			"None of the network policies shop/deny-all, default.team (Calico) that select the pod allows"},
		{"so did all of them", "filter", "cali-tw-x", endOfTier, []string{"Policy security.audit ingress", "KubernetesAdminNetworkPolicy all ingress"}, nil, "No network policy that selects the pod allows it: Calico drops"},
		{"kube-router's other rules", "filter", "KUBE-ROUTER-SERVICES", `-A KUBE-ROUTER-SERVICES -m comment --comment "reject all unexpected traffic to service IPs" -j DROP`, nil, nil,
			`A rule of kube-router ("reject all unexpected traffic to service IPs"), which is no network policy's, drops`},
		{"kube-router's, where those that lead there have the namespace", "kube-router-filter-ipv4", "KUBE-POD-FW-X", `counter reject comment "REJECT traffic destined for POD name:web-0"`, []string{"run through nw policy deny-all"},
			[]string{"jump traffic to POD name:web-0 ns: shop to chain KUBE-POD-FW-X", "jump traffic from POD name:web-0 ns: shop to chain KUBE-POD-FW-X"}, "The network policy shop/deny-all (kube-router) selects the pod shop/web-0"},
		{"kube-router's, where they do not agree", "kube-router-filter-ipv4", "KUBE-POD-FW-X", `counter reject comment "REJECT traffic destined for POD name:web-0"`, []string{"run through nw policy deny-all"},
			[]string{"jump traffic to POD name:web-0 ns: shop to chain KUBE-POD-FW-X", "jump traffic to POD name:web-0 ns: other to chain KUBE-POD-FW-X"}, "The network policy deny-all (kube-router) selects the pod web-0"},
		{"a service of an Antrea policy's rule", "filter", "ANTREA-POL-1B", `-A ANTREA-POL-1B -p tcp -m tcp --dport 22 -j DROP`, nil, []string{"Antrea: for rule 1b, policy AntreaClusterNetworkPolicy:no-ssh"},
			"The network policy no-ssh (Antrea) drops"},
		{"a chain that two rules lead to", "filter", "ANTREA-POL-1B", `-A ANTREA-POL-1B -j DROP`, nil, []string{"Antrea: for rule 1b, policy AntreaClusterNetworkPolicy:no-ssh", "Antrea: for rule 2c, policy AntreaClusterNetworkPolicy:other"},
			"The network policies of Antrea: a rule of theirs drops"},
		{"Antrea's other rules", "raw", "ANTREA-PREROUTING", `-A ANTREA-PREROUTING -m comment --comment "Antrea: drop Pod multicast traffic forwarded via underlay network" -j DROP`, nil, nil,
			`A rule of Antrea ("drop Pod multicast traffic forwarded via underlay network"), which is no network policy's, drops`},
	} {
		e, facts := ruled("10.9.0.2:80", &event.RuleFact{System: "iptables-nft", Family: "ipv4", Table: tt.table, Chain: tt.chain, Hook: "forward", Number: 1, Text: tt.text, Verdict: "drop", Asked: tt.asked, Heads: tt.heads}, event.Certain)
		f, _ := learnt(facts).Proves(e, e.Body.(event.Drop))
		if !strings.HasPrefix(f.Title, tt.title) {
			t.Errorf("%s: %q, want %q", tt.name, f.Title, tt.title)
		}
		if isOther := strings.Contains(f.Title, "no network policy's"); isOther && strings.Contains(fmt.Sprint(f.Cause, f.Remedy), "etwork polic") {
			t.Errorf("%s: speaks of policies: %q %q", tt.name, f.Cause, f.Remedy)
		}
	}
}
