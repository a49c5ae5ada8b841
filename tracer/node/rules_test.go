// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/ruleset"
	"ktrace/testdata/lab"
	"ktrace/tracer/netlink"
	"ktrace/tracer/netns"
)

// rulesIn reads the rules of a namespace of the lab, with all sets.
func rulesIn(t testing.TB, ns *lab.NS) *ruleset.Ruleset {
	t.Helper()
	s, err := netns.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var rs *ruleset.Ruleset
	err = s.Do(func() error {
		rs = readRules()
		var sets []*ruleset.Set
		for _, table := range rs.Tables {
			for _, set := range table.Sets {
				sets = append(sets, set)
			}
		}
		return loadSets(sets)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rs.Unread) > 0 {
		t.Fatalf("not everything was read: %q", rs.Unread)
	}
	return rs
}

// texts lists every rule of the tables of one system as "table: text".
func texts(rs *ruleset.Ruleset, system ruleset.System, family ruleset.Family) []string {
	var all []string
	for _, table := range rs.Tables {
		if table.System != system || table.Family != family {
			continue
		}
		for _, c := range table.Chains {
			for i := range c.Rules {
				r := &c.Rules[i]
				text := r.Text(c)
				if system != ruleset.NFTables {
					text = fmt.Sprintf("[%d:%d] %s", r.Counter.Packets, r.Counter.Bytes, text)
				}
				all = append(all, table.Name+": "+text)
			}
		}
	}
	slices.Sort(all)
	return all
}

// saved is what iptables-save -c prints, in the form of texts.
func saved(out string) []string {
	var all []string
	table := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, "["):
			all = append(all, table+": "+line)
		}
	}
	slices.Sort(all)
	return all
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(want) == 0 {
		t.Fatal("the tool printed no rules: nothing was compared")
	}
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("rule %d\n got %q\nwant %q", i, g, w)
		}
	}
}

func ipset(v6 bool) string { return map[bool]string{false: "denied", true: "denied6"}[v6] }

// makeIPSet makes an empty set of hash:ip,port as ipset(8) would.
func makeIPSet(t *testing.T, ns *lab.NS, v6 bool) {
	t.Helper()
	const create, protocol, name, kind, revision, family, data = 6<<8 | 2, 1, 2, 3, 4, 5, 7
	f := byte(unix.AF_INET)
	if v6 {
		f = unix.AF_INET6
	}
	body := netlink.AppendAttr(nfgenmsg(f), protocol, []byte{6})
	body = netlink.AppendString(body, name, ipset(v6))
	body = netlink.AppendAttr(body, kind, []byte("hash:ip,port\x00"))
	body = netlink.AppendAttr(netlink.AppendAttr(body, revision, []byte{0}), family, []byte{f})
	s, err := netns.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Ask(create, unix.NLM_F_ACK|unix.NLM_F_CREATE, netlink.AppendNested(body, data, nil), func(netlink.Message) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
}

// everyday rules of iptables; %s is the reject type of the family's port unreachable.
func everyday(v6 bool) []string {
	net, host, host2, icmp, kind, reject, admin := "10.0.0.0/8", "10.0.0.1", "10.3.2.0/23", "icmp", "--icmp-type 8", "icmp-port-unreachable", "icmp-admin-prohibited"
	if v6 {
		net, host, host2, icmp, kind, reject, admin = "fd00::/16", "fd00::1", "fd00:1:2::/47", "icmpv6", "--icmpv6-type 128", "icmp6-port-unreachable", "icmp6-adm-prohibited"
	}
	return []string{
		"-N KUBE-A", "-N KUBE-B",
		"-A INPUT -s " + net + " -i eth+ -p tcp -m tcp --dport 80:90 -m comment --comment \"a b\" -j REJECT --reject-with tcp-reset",
		"-A INPUT ! -d " + host + " -p udp -m multiport --dports 1,2:3 -m conntrack --ctstate INVALID,NEW -j DROP",
		"-A INPUT -s " + host2 + " ! -i eth0 -p tcp -m tcp --sport 1024: --tcp-flags SYN,ACK SYN -m mark --mark 0x4000/0x4000 -j ACCEPT",
		"-A INPUT -p tcp -m mark ! --mark 0x1 -m tcp ! --dport 22 -j KUBE-A",
		"-A INPUT -p " + icmp + " " + kind + " -m limit --limit 5/min --limit-burst 9 -j LOG --log-prefix \"x: \"",
		"-A INPUT -m statistic --mode random --probability 0.5 -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x4000/0x4000",
		"-A INPUT -m statistic --mode nth --every 3 --packet 1 -j RETURN",
		"-A FORWARD -m physdev --physdev-in veth0 -m state --state RELATED,ESTABLISHED -j ACCEPT",
		"-A FORWARD -p sctp -g KUBE-B",
		"-A FORWARD -m comment --comment plain",
		"-A KUBE-A -p udp -j REJECT --reject-with " + reject,
		"-A KUBE-A -j REJECT --reject-with " + admin,
		"-A KUBE-B -m pkttype --pkt-type broadcast -j DROP",
		"-P FORWARD DROP",
		"-A FORWARD -m set --match-set " + ipset(v6) + " src,dst -j DROP", "-A FORWARD -m set ! --match-set " + ipset(v6) + " dst -j DROP",
		"-t nat -N KUBE-SVC", "-t nat -A PREROUTING -d " + host + " -p tcp -m tcp --dport 53 -j KUBE-SVC",
		"-t nat -A POSTROUTING -m mark --mark 0x2 -j MASQUERADE --random-fully",
	}
}

// ofTable are the lines of the nat table, or of the other.
func ofTable(rules []string, nat bool) string {
	var b strings.Builder
	for _, r := range rules {
		if line, is := strings.CutPrefix(r, "-t nat "); is == nat {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func TestRulesReadAsTheirToolPrintsThem(t *testing.T) {
	for _, c := range []struct {
		tool   string
		system ruleset.System
		v6     bool
	}{
		{"iptables-legacy", ruleset.Legacy, false}, {"ip6tables-legacy", ruleset.Legacy, true},
		{"iptables-nft", ruleset.IptablesNFT, false}, {"ip6tables-nft", ruleset.IptablesNFT, true},
	} {
		t.Run(c.tool, func(t *testing.T) {
			ns := lab.New(t).Namespace("node")
			makeIPSet(t, ns, c.v6)
			rules := everyday(c.v6)
			family := ruleset.IPv4
			if c.v6 {
				family = ruleset.IPv6
				rules = append(rules, "-t nat -A KUBE-SVC -p tcp -j DNAT --to-destination [fd00::9]:5353")
			} else {
				rules = append(rules, "-t nat -A KUBE-SVC -p tcp -j DNAT --to-destination 10.9.0.2:5353",
					"-A INPUT -s 10.1.0.3/255.255.0.255 -f -j DROP")
			}
			restore(t, ns, c.tool, "*filter\n"+ofTable(rules, false)+"COMMIT\n*nat\n"+ofTable(rules, true)+"COMMIT\n")
			want := saved(ns.Run(c.tool+"-save", "-c"))
			for i, w := range want { // what is not decoded
				want[i] = regexp.MustCompile(`-m pkttype .* -j`).ReplaceAllString(w, "-m pkttype ... -j")
			}
			compare(t, texts(rulesIn(t, ns), c.system, family), want)
		})
	}
}

func TestNativeRulesReadAsNftPrintsThem(t *testing.T) {
	ns := lab.New(t).Namespace("node")
	ns.Run("nft", `table inet fw {
	set bad { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 10.9.9.9 } }
	map ports { type inet_service : verdict; elements = { 22 : accept, 80 : jump web } }
	chain in {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		ct state invalid counter drop
		iifname "lo" accept
		iifname "veth*" tcp dport 8080-8090 counter reject with tcp reset
		ip saddr 10.0.0.0/8 udp dport { 53, 5353 } counter drop comment "no dns"
		ip6 daddr fd00::/64 tcp sport 1 drop
		ip saddr @bad ip daddr . tcp dport { 10.0.0.1 . 80, 10.0.0.2 . 443 } drop
		meta mark & 0x00004000 == 0x00004000 counter log prefix "marked " drop
		meta l4proto { tcp, udp } reject
		ip protocol icmp reject with icmp admin-prohibited
		meta nfproto ipv6 reject with icmpv6 no-route
		tcp flags syn / syn,ack drop
		tcp dport vmap @ports
		meta mark 0x00000001 reject with icmpx admin-prohibited
		goto web
	}
	chain web {
		ip ttl 1 drop
		icmp type 8 drop
	}
}
table ip natural {
	chain pre {
		type nat hook prerouting priority dstnat;
		ip daddr 10.96.0.10 tcp dport 53 dnat to 10.9.0.2:5353
		ip daddr 10.96.0.11 dnat to 10.9.0.3
	}
}`)
	got := append(texts(rulesIn(t, ns), ruleset.NFTables, ruleset.Inet), texts(rulesIn(t, ns), ruleset.NFTables, ruleset.IPv4)...)
	var want []string
	table, rule := "", regexp.MustCompile(`^\t\t.*# handle \d+$`)
	for line := range strings.Lines(ns.Run("nft", "-a", "list", "ruleset")) {
		line = strings.TrimRight(line, "\n")
		if f := strings.Fields(line); len(f) > 2 && f[0] == "table" {
			table = f[2]
		}
		if rule.MatchString(line) && !strings.Contains(line, "{ #") {
			want = append(want, table+": "+strings.TrimSpace(line))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	compare(t, got, want)
}

// many writes rules of kube-proxy's kind for n services into a namespace: 4 rules each.
func many(t testing.TB, ns *lab.NS, n int, tool string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n")
	for i := range n {
		fmt.Fprintf(&b, ":KUBE-SVC-%d - [0:0]\n:KUBE-SEP-%d - [0:0]\n", i, i)
	}
	b.WriteString("-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n")
	for i := range n {
		addr := fmt.Sprintf("10.%d.%d.%d", 96+(i>>16), i>>8&255, i&255)
		fmt.Fprintf(&b, "-A KUBE-SERVICES -d %s/32 -p tcp -m comment --comment \"ns/svc-%d:web cluster IP\" -m tcp --dport 80 -j KUBE-SVC-%d\n", addr, i, i)
		fmt.Fprintf(&b, "-A KUBE-SVC-%d -m comment --comment \"ns/svc-%d:web -> 10.244.1.2:8080\" -j KUBE-SEP-%d\n", i, i, i)
		fmt.Fprintf(&b, "-A KUBE-SEP-%d -s 10.244.1.2/32 -m comment --comment \"ns/svc-%d:web\" -j MARK --set-xmark 0x4000/0x4000\n", i, i)
		fmt.Fprintf(&b, "-A KUBE-SEP-%d -p tcp -m comment --comment \"ns/svc-%d:web\" -m tcp -j DNAT --to-destination 10.244.1.2:8080\n", i, i)
	}
	b.WriteString("COMMIT\n")
	restore(t, ns, tool, b.String())
}

// restore adds rules as the tool's -save prints them, or as its command line has them.
func restore(t testing.TB, ns *lab.NS, tool, rules string) {
	t.Helper()
	file := t.TempDir() + "/rules"
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	ns.Run(tool+"-restore", "--noflush", file)
}

func TestCountingAgainIsCheap(t *testing.T) {
	const drop = "-A FORWARD -d 10.9.0.2/32 -p udp -m udp --dport 53 -j DROP"
	services := 5000
	if testing.Short() { // where a kernel is emulated
		services = 500
	}
	ns := lab.New(t).Namespace("node")
	many(t, ns, services, "iptables-nft")
	ns.Run(append([]string{"iptables-nft"}, strings.Fields(drop)...)...)
	s, err := netns.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Do(func() error {
		var before, after *ruleset.Ruleset
		all := cpu(t, func() { before = readRules() })
		some := cpu(t, func() { after = recount(before) })
		if before.Generation == 0 || after.Generation != before.Generation || len(after.Unread) > 0 {
			t.Errorf("generation %d became %d; not read: %q", before.Generation, after.Generation, after.Unread)
		}
		t.Logf("reading %d rules took %v of CPU, counting again %v", 4*services, all, some)
		if some*10 > all {
			t.Errorf("counting again took %v, reading all %v: not a tenth", some, all)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// cpu is the time that the thread, to which the caller is locked, works on f: other load does not count.
func cpu(t *testing.T, f func()) time.Duration {
	t.Helper()
	clock := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	begin := clock()
	f()
	return clock() - begin
}

func BenchmarkReadRules(b *testing.B) {
	for _, tool := range []string{"iptables-legacy", "iptables-nft"} {
		for _, services := range []int{500, 5000} {
			b.Run(fmt.Sprintf("%s/%d rules", tool, services*4), func(b *testing.B) {
				ns := lab.New(b).Namespace("node")
				many(b, ns, services, tool)
				s, err := netns.Open(ns.Path())
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				b.ReportAllocs()
				for b.Loop() {
					err := s.Do(func() error {
						if rs := readRules(); len(rs.Unread) > 0 {
							return errors.New(rs.Unread[0])
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
