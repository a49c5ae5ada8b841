// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"slices"
	"testing"
)

// TestDropRulesSayWhoWasAskedBefore: the policies of a pod, as Calico and kube-router have them, before the drop behind them.
func TestDropRulesSayWhoWasAskedBefore(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        []string
	}{
		{"a policy that allows nothing", `*filter
:FORWARD ACCEPT [0:0]
:cali-tw-1 - [0:0]
:cali-pi-1 - [0:0]
-A FORWARD -j cali-tw-1
-A cali-tw-1 -m comment --comment "Start of tier default" -j MARK --set-xmark 0x0/0x20000
-A cali-tw-1 -m comment --comment "cali:b" -m mark --mark 0x0/0x20000 -j cali-pi-1
-A cali-tw-1 -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
-A cali-pi-1 -m comment --comment "cali:c" -m comment --comment "Policy shop/knp.default.deny-all ingress"`,
			[]string{"cali:b; cali:c; Policy shop/knp.default.deny-all ingress"}},
		{"one for what the pod sends, and one for what it gets", `*filter
:FORWARD ACCEPT [0:0]
:KUBE-POD-FW-1 - [0:0]
:KUBE-NWPLCY-IN - [0:0]
:KUBE-NWPLCY-OUT - [0:0]
-A FORWARD -d 10.2.0.3/32 -j KUBE-POD-FW-1
-A KUBE-POD-FW-1 -d 10.2.0.3/32 -m comment --comment "run through nw policy in" -j KUBE-NWPLCY-IN
-A KUBE-POD-FW-1 -s 10.2.0.3/32 -m comment --comment "run through nw policy out" -j KUBE-NWPLCY-OUT
-A KUBE-POD-FW-1 -m mark ! --mark 0x10000/0x10000 -j REJECT`, []string{"run through nw policy in"}},
		{"a group of policies has a chain that asks each", `*filter
:FORWARD ACCEPT [0:0]
:cali-tw-1 - [0:0]
:cali-gi-1 - [0:0]
:cali-pi-1 - [0:0]
:cali-pi-2 - [0:0]
-A FORWARD -j cali-tw-1
-A cali-tw-1 -m mark --mark 0x0/0x20000 -j cali-gi-1
-A cali-tw-1 -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
-A cali-gi-1 -j cali-pi-1
-A cali-gi-1 -m mark --mark 0x0/0x30000 -j cali-pi-2
-A cali-pi-1 -m comment --comment "Policy a ingress"
-A cali-pi-2 -m comment --comment "Policy b ingress"`, []string{"Policy a ingress", "Policy b ingress"}},
		{"rules of a base chain", `*filter
:FORWARD ACCEPT [0:0]
:A - [0:0]
-A FORWARD -m comment --comment "for all" -j A
-A FORWARD -j DROP`, nil},
		{"a rule that comes later", `*filter
:FORWARD ACCEPT [0:0]
:A - [0:0]
:B - [0:0]
-A FORWARD -j A
-A A -j DROP
-A A -m comment --comment "behind" -j B`, nil},
	} {
		p := newPacket(protoTCP, "10.1.0.2:40000", "10.2.0.3:80", Forward)
		b, _ := parse(t, tt.rules).DropRules(Case{Packet: p, Hooks: []Hook{Forward}})
		if len(b.Candidates) == 0 || !slices.Equal(b.Candidates[0].Asked, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, b.Candidates, tt.want)
		}
	}
}

// TestDropRulesSayWhatAChainIsFor: the comment is at the rules that lead there, or at the first of the chain.
func TestDropRulesSayWhatAChainIsFor(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        []string
	}{
		{"one leads there", `*filter
:INPUT ACCEPT [0:0]
:A - [0:0]
-A INPUT -p tcp -m comment --comment "policy a" -j A
-A A -p tcp -m tcp --dport 80 -j DROP`, []string{"policy a"}},
		{"two do, and the chain says it as well", `*filter
:INPUT ACCEPT [0:0]
:A - [0:0]
-A INPUT -s 10.1.0.9/32 -m comment --comment "policy a" -j A
-A INPUT -s 10.1.0.2/32 -m comment --comment "policy b" -g A
-A A -m comment --comment "first"
-A A -j DROP`, []string{"policy a", "policy b", "first"}},
		{"a base chain", `*filter
:INPUT ACCEPT [0:0]
-A INPUT -m comment --comment "first" -j LOG
-A INPUT -j DROP`, nil},
	} {
		p := newPacket(protoTCP, "10.1.0.2:40000", "10.2.0.3:80", Input)
		b, _ := parse(t, tt.rules).DropRules(Case{Packet: p, Hooks: []Hook{Input}})
		if len(b.Candidates) == 0 || !slices.Equal(b.Candidates[0].Heads, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, b.Candidates, tt.want)
		}
	}
}
