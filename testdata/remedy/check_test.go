package remedy

import "testing"

func TestCheck(t *testing.T) {
	for _, good := range [][]string{
		{"ip route get 10.0.0.1   # at the sender: which way?", "# ask who runs the network"},
		{"nsenter -t $(lsns -no PID 4026531840 | head -1) -n ss -ltn 'sport = :80'"},
		{"conntrack -L 2>/dev/null | awk '{print $1,$5}' | sort | uniq -c; dmesg | tail"},
		{"for d in $(ip -br link show type vxlan | cut -d' ' -f1); do ethtool -K $d tx off; done"},
		{"dig @10.0.0.1 -p 53 'NAME' 'A'"},
		{"iptables-nft -t filter -nvL KUBE-POD-FW-TT2IUJ4C --line-numbers"},
		nil,
	} {
		if err := Check(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"let the client retry", "on 10.0.0.1: ip route", "ethtool -K TUNNEL tx off", "kubectl get pod <name>", "ip link set {dev} up",
		"ip route; look at it", "ip route get %!v(MISSING)", "ss 'sport = :80",
	} {
		if err := Check([]string{bad}); err == nil {
			t.Errorf("%q is taken for a command", bad)
		}
	}
	if Check([]string{"# do so", "ip route"}) == nil {
		t.Error("a command may come last")
	}
}
