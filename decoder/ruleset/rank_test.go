// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

func parse(t testing.TB, text string) *Ruleset {
	t.Helper()
	rs, err := ParseSave(strings.NewReader(text), Legacy, IPv4)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// newPacket is "proto src:port > dst:port" on its way from eth0.
func newPacket(proto uint8, src, dst string, hook Hook) Packet {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return Packet{Family: IPv4, Hook: hook, Proto: proto, Src: s.Addr(), Sport: s.Port(), Dst: d.Addr(), Dport: d.Port(),
		Ports: true, Flags: 2, FlagsKnown: proto == protoTCP, In: "eth0", Length: 60, TTL: 64}
}

func TestCandidatesAreTheRulesThatMayHaveDroppedThePacket(t *testing.T) {
	syn := newPacket(protoTCP, "10.1.0.2:40000", "10.2.0.3:80", Input)
	for name, c := range map[string]struct {
		rules  string
		packet Packet
		want   []string // fit and text
	}{
		"a rule that fits in every match is one":             {"-A INPUT -s 10.1.0.0/16 -p tcp -m tcp --dport 80 -j DROP", syn, []string{"yes -A INPUT -s 10.1.0.0/16 -p tcp -m tcp --dport 80 -j DROP"}},
		"a rule for another port is none":                    {"-A INPUT -p tcp -m tcp --dport 81 -j DROP", syn, nil},
		"an inverted match that does not fit makes one":      {"-A INPUT -p tcp -m tcp ! --dport 81 -j DROP", syn, []string{"yes -A INPUT -p tcp -m tcp ! --dport 81 -j DROP"}},
		"a rule for another device is none":                  {"-A INPUT -i eth1 -j DROP", syn, nil},
		"a device by its prefix is one":                      {"-A INPUT -i eth+ -j DROP", syn, []string{"yes -A INPUT -i eth+ -j DROP"}},
		"a longer name is not the device":                    {"-A INPUT -i eth01 -j DROP", syn, nil},
		"an output device at INPUT is none":                  {"-A INPUT -o eth0 -j DROP", syn, nil},
		"a match that headers do not tell is a maybe":        {"-A INPUT -m conntrack --ctstate INVALID -j DROP", syn, []string{"maybe -A INPUT -m conntrack --ctstate INVALID -j DROP"}},
		"an unknown module is a maybe":                       {"-A INPUT -m frobnicate --with care -j DROP", syn, []string{"maybe -A INPUT -m frobnicate --with care -j DROP"}},
		"what an accepting rule caught before is none":       {"-A INPUT -p tcp -j ACCEPT\n-A INPUT -j DROP", syn, nil},
		"behind a rule that may have accepted it is a maybe": {"-A INPUT -m limit --limit 1/sec -j ACCEPT\n-A INPUT -j DROP", syn, []string{"maybe -A INPUT -j DROP"}},
		"a rule of a chain that is jumped to is one":         {":A - [0:0]\n-A INPUT -p tcp -j A\n-A A -j DROP", syn, []string{"yes -A A -j DROP"}},
		"a chain that is not jumped to has none":             {":A - [0:0]\n-A INPUT -p udp -j A\n-A A -j DROP", syn, nil},
		"a chain that returns leads on":                      {":A - [0:0]\n-A INPUT -j A\n-A INPUT -j DROP\n-A A -j RETURN\n-A A -j DROP", syn, []string{"yes -A INPUT -j DROP"}},
		"a goto does not lead on":                            {":A - [0:0]\n-A INPUT -g A\n-A INPUT -j DROP\n-A A -p udp -j DROP", syn, nil},
		"the policy is one if nothing else decided":          {":INPUT DROP [3:180]\n-A INPUT -p udp -j ACCEPT", syn, []string{"yes -P INPUT DROP"}},
		"the policy is a maybe behind a doubt":               {":INPUT DROP [3:180]\n-A INPUT -m limit --limit 1/sec -j ACCEPT", syn, []string{"maybe -P INPUT DROP"}},
		"a proxy's rule is a maybe":                          {"-A INPUT -p tcp -j TPROXY --on-port 15001\n-A INPUT -j DROP", syn, []string{"maybe -A INPUT -p tcp -j TPROXY --on-port 15001"}},
		"a reject is one":                                    {"-A INPUT -p tcp -j REJECT --reject-with tcp-reset", syn, []string{"yes -A INPUT -p tcp -j REJECT --reject-with tcp-reset"}},
		"flags decide":                                       {"-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", syn, []string{"yes -A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"}},
		"other flags are none":                               {"-A INPUT -p tcp -m tcp --tcp-flags SYN,ACK ACK -j DROP", syn, nil},
		"ports in a list are one":                            {"-A INPUT -p tcp -m multiport --ports 1,79:81 -j DROP", syn, []string{"yes -A INPUT -p tcp -m multiport --ports 1,79:81 -j DROP"}},
		"a mark or log on the way changes nothing":           {"-A INPUT -j LOG\n-A INPUT -j MARK --set-xmark 0x1/0x1\n-A INPUT -j DROP", syn, []string{"yes -A INPUT -j DROP"}},
		"a chain of another hook has none":                   {"-A FORWARD -j DROP", syn, nil},
		"only the first of two certain rules is one":         {"-A INPUT -p tcp -j DROP\n-A INPUT -j DROP", syn, []string{"yes -A INPUT -p tcp -j DROP"}},
		"behind a maybe, the next is a maybe as well":        {"-A INPUT -m mark --mark 0x1 -j DROP\n-A INPUT -j DROP", syn, []string{"maybe -A INPUT -m mark --mark 0x1 -j DROP", "maybe -A INPUT -j DROP"}},
		"chains that jump to each other end":                 {":A - [0:0]\n:B - [0:0]\n-A INPUT -j A\n-A A -j B\n-A B -j A", syn, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rs := parse(t, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"+c.rules+"\nCOMMIT\n")
			var got []string
			for _, s := range rs.Walk(&c.packet).Drops {
				text := s.Chain.PolicyText()
				if s.Rule != nil {
					text = s.Rule.Text(s.Chain)
				}
				got = append(got, s.Fit.String()+" "+text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheStateOfAConnectionDecidesAsFarAsItIsKnown(t *testing.T) {
	const rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n"
	for name, c := range map[string]struct {
		conntrack *event.Conntrack
		want      string // fit of the second rule
	}{
		"established: the first rule let it pass": {&event.Conntrack{Status: []string{"seen-reply", "confirmed"}}, "none"},
		"new: it was the second":                  {&event.Conntrack{}, "yes"},
		"related: the first rule let it pass":     {&event.Conntrack{Status: []string{"expected"}}, "none"},
		"not known: the second may be it":         {nil, "maybe"},
	} {
		t.Run(name, func(t *testing.T) {
			p, ok := FromEvent(event.Event{Body: event.Drop{Conntrack: c.conntrack}, Packet: &packet.Packet{Family: "ipv4", Proto: "tcp",
				Src: netip.MustParseAddr("10.1.0.2"), Sport: 40000, Dst: netip.MustParseAddr("10.2.0.3"), Dport: 80, Flags: "S"}})
			if !ok {
				t.Fatal("not understood")
			}
			p.Hook = Input
			got := "none"
			for _, s := range parse(t, rules).Walk(&p).Drops {
				got = s.Fit.String()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestTablesOfAHookAreMetByPriority(t *testing.T) {
	rs := parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j DROP\nCOMMIT\n*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j DROP\nCOMMIT\n")
	p := newPacket(protoUDP, "10.1.0.2:4000", "10.2.0.3:53", Forward)
	s := rs.Walk(&p).Drops
	if len(s) != 2 || s[0].Chain.Table.Name != "mangle" {
		t.Errorf("got %+v, want mangle before filter", s)
	}
}

func TestDropRulesAreAsSureAsTheCountersAre(t *testing.T) {
	const (
		tcp   = "-A FORWARD -p tcp -j DROP"
		all   = "-A FORWARD -j DROP"
		state = "-A FORWARD -m conntrack --ctstate INVALID -j DROP"
	)
	p := newPacket(protoTCP, "10.1.0.2:40000", "10.2.0.3:80", Forward)
	for name, c := range map[string]struct {
		before, after string // "" for no reading before
		drops         uint64
		first         string
		want          event.Confidence
	}{
		"one rule that counted every drop is certain":                {"[5:0] " + tcp, "[8:0] " + tcp, 3, tcp, event.Certain},
		"one that counted more than was seen is certain":             {"[5:0] " + tcp, "[9:0] " + tcp, 3, tcp, event.Certain},
		"one that did not count is only possible":                    {"[5:0] " + tcp, "[5:0] " + tcp, 3, tcp, event.Possible},
		"one that counted fewer is likely":                           {"[5:0] " + tcp, "[6:0] " + tcp, 3, tcp, event.Likely},
		"without a reading before, the only one that fits is likely": {"", "[5:0] " + tcp, 3, tcp, event.Likely},
		"without a reading before, a maybe is possible":              {"", "[5:0] " + state, 3, state, event.Possible},
		"a maybe that counted every drop is certain":                 {"[5:0] " + state, "[8:0] " + state, 3, state, event.Certain},
		"of two, the one that counted is certain":                    {"[5:0] " + state + "\n[7:0] " + all, "[5:0] " + state + "\n[9:0] " + all, 2, all, event.Certain},
		"if both counted, the first is possible":                     {"[5:0] " + state + "\n[7:0] " + all, "[7:0] " + state + "\n[9:0] " + all, 2, state, event.Possible},
		"beside one that does not count, it is possible":             {"[5:0] " + state + "\n" + all, "[7:0] " + state + "\n" + all, 2, state, event.Possible},
		"a counter that was reset counts from zero":                  {"[50:0] " + tcp, "[3:0] " + tcp, 3, tcp, event.Certain},
	} {
		t.Run(name, func(t *testing.T) {
			wrap := func(rules string) *Ruleset { return parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n"+rules+"\nCOMMIT\n") }
			k := Case{Packet: p, Hooks: []Hook{Forward}, Drops: c.drops}
			if c.before != "" {
				k.Before = wrap(c.before).Counts()
			}
			got, _ := wrap(c.after).DropRules(k)
			if len(got.Candidates) == 0 || got.Candidates[0].Text != c.first || got.Confidence != c.want {
				t.Errorf("got %s of %+v, want %s of %s", got.Confidence, got.Candidates, c.want, c.first)
			}
		})
	}
}

func TestNoRuleIsNamedWhereNoneFits(t *testing.T) {
	got, _ := parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp -j DROP\nCOMMIT\n").
		DropRules(Case{Packet: newPacket(protoTCP, "10.1.0.2:40000", "10.2.0.3:80", Forward), Hooks: []Hook{Forward}, Drops: 1})
	if len(got.Candidates) != 0 || got.Confidence != "" || got.Incomplete != "" {
		t.Errorf("got %+v, want none", got)
	}
}

func TestSavedTextIsReadAsItIsPrinted(t *testing.T) {
	for _, line := range []string{
		`-A INPUT -s 10.0.0.0/8 ! -i eth+ -p tcp -m tcp --sport 1024:65535 --tcp-flags SYN,ACK SYN -m comment --comment "a \"b\" c" -j REJECT --reject-with tcp-reset`,
		`-A INPUT ! -d 10.0.0.1/32 -p udp -m multiport --dports 1,2:3 -m conntrack --ctstate INVALID,NEW -j DROP`,
		`-A INPUT -m statistic --mode random --probability 0.50000000000 -j MARK --set-xmark 0x4000/0x4000`,
		`-A INPUT -m mark ! --mark 0x4000/0x4000 -m comment --comment plain -j RETURN`,
		`-A INPUT -p sctp -g A`,
		`-A INPUT -j LOG --log-prefix "x: "`,
		`-A INPUT -s 10.1.0.3/255.255.0.255 -f -j DROP`,
	} {
		rs := parse(t, "*filter\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n[1:2] "+line+"\nCOMMIT\n")
		c := rs.Tables[0].Chain("INPUT")
		if got := c.Rules[0].Text(c); got != line {
			t.Errorf("got  %s\nwant %s", got, line)
		}
	}
}
