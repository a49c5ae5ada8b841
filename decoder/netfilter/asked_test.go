package netfilter

import (
	"slices"
	"testing"
)

// TestABlameSaysWhoWasAskedBefore: the policies of a pod, as Calico and kube-router have them, before the drop behind them.
func TestABlameSaysWhoWasAskedBefore(t *testing.T) {
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
		p := packet(protoTCP, "10.1.0.2:40000", "10.2.0.3:80", Forward)
		b, _ := parse(t, tt.rules).Blame(Case{Packet: p, Hooks: []Hook{Forward}})
		if len(b.Suspects) == 0 || !slices.Equal(b.Suspects[0].Asked, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, b.Suspects, tt.want)
		}
	}
}
