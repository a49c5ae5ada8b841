// SPDX-License-Identifier: Apache-2.0

package wording

import (
	"testing"

	"ktrace/decoder/event"
)

func TestRemedies(t *testing.T) {
	run := func(command string) event.Remedy { return event.Remedy{Run: command} }
	for _, good := range [][]event.Remedy{
		{run("ip route get 10.0.0.1").Noting("at the sender: which way?"), {Do: "ask who runs the network"}},
		{run("ss -ltn 'sport = :80'").In(4026531840)},
		{run("conntrack -L 2>/dev/null | awk '{print $1,$5}' | sort | uniq -c")},
		{run("dig @10.0.0.1 -p 53 -q NAME. -t A")},
		{run("iptables-nft -t filter -nvL KUBE-POD-FW-TT2IUJ4C --line-numbers")},
		nil,
	} {
		if err := Remedies(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"let the client retry", "on 10.0.0.1: ip route", "ethtool -K TUNNEL tx off", "kubectl get pod <name>", "ip link set {dev} up",
		"ip route; look at it", "ip route get %!v(MISSING)", "ss 'sport = :80", "# ask who runs the network",
	} {
		if err := Remedies([]event.Remedy{run(bad)}); err == nil {
			t.Errorf("%q is taken for a command", bad)
		}
	}
	for _, bad := range [][]event.Remedy{
		{{Do: "do so"}, run("ip route")}, {{}}, {{Run: "ip route", Do: "do so"}}, {{Do: "# do so"}}, {{Do: "do so", Netns: 1}}, {{Do: "do so", Note: "here"}},
	} {
		if Remedies(bad) == nil {
			t.Errorf("%+v is taken for a remedy", bad)
		}
	}
}
