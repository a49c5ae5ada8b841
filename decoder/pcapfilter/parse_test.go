// SPDX-License-Identifier: Apache-2.0

package pcapfilter_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
)

func TestBadExpressionsSayWhereAndWhy(t *testing.T) {
	tests := []struct {
		expr   string
		column int
		msg    string
	}{
		{"tcp port", 9, "expected a port, found the end"},
		{"tcp port htttp", 10, `unknown service "htttp"`},
		{"port 70000", 6, "larger than 65535"},
		{"port 80-90", 6, `unknown service "80-90"`},
		{"udp port ssh", 10, "ssh is a tcp port"},
		{"portrange 1-foo", 13, `unknown service "foo"`},
		{"ip port 80", 1, `"ip" has no ports`},
		{"port 10.0.0.1", 6, "expected a port"},
		{"host example.com", 6, "names of hosts and networks are not looked up"},
		{"net backbone", 5, "not looked up"},
		{"host 10.0.0.256", 6, `"256" is no number from 0 to 255`},
		{"host 10.0.0.0/8", 6, "write net 10.0.0.0"},
		{"net 10.0.0.1/8", 5, "bits set outside the mask"},
		{"net 10.0.0.0/33", 14, "larger than 32"},
		{"net 10.0.0.0 mask 8", 19, "expected a network mask"},
		{"net 2001:db8::/129", 16, "larger than 128"},
		{"net 2001:db8::1/64", 5, "bits set outside the prefix"},
		{"src 2001:db8::/32", 5, "write net 2001:db8::/32"},
		{"ip host ::1", 1, `"ip" cannot qualify an IPv6 address`},
		{"tcp host 10.0.0.1", 1, `"tcp" cannot qualify an IPv4 address`},
		{"host 00:11:22:33:44:55", 6, `needs "ether"`},
		{"ether host 10.0.0.1", 12, "expected a MAC address"},
		{"10.0.0.1", 1, "as in host 10.0.0.1"},
		{"tcp and 00:11:22:33:44:55", 9, "as in ether host"},
		{"tcp or 80", 8, "as in port 80"},
		{"foo", 1, `unknown word "foo"`},
		{"tcp udp", 5, `expected "and", "or" or the end, found "udp"`},
		{"tcp and", 8, "expected a filter, found the end"},
		{"(tcp or udp", 12, `expected ")", found the end`},
		{"tcp)", 4, `found ")"`},
		{"not", 4, "expected a filter"},
		{"src or host 10.0.0.1", 5, "expected host, net, port"},
		{"tcp[13", 7, `expected "]"`},
		{"tcp[13:3] = 1", 8, "size of 1, 2 or 4"},
		{"tcp[13]", 8, "expected a comparison"},
		{"tcp[] = 1", 5, `expected a filter, found "]"`},
		{"ah[0] = 1", 1, "ah[..] is not supported"},
		{"ip[0] / 0 = 1", 7, "division by zero"},
		{"ip[0] << 32 = 1", 7, "shift by more than 31 bits"},
		{"ip[0] = tcp", 12, "expected a number"},
		{"len = 09", 7, "has a digit above 7"},
		{"len = 4294967296", 7, "larger than 32 bits"},
		{"vlan 4096", 1, "larger than 4095"},
		{"mpls and vlan", 10, "cannot follow mpls"},
		{"mpls and arp", 10, "behind an MPLS label"},
		{"mpls 1048576", 1, "larger than 1048575"},
		{"gateway foo", 1, "ether host MAC and not host ADDRESS"},
		{"ip6 protochain 6", 5, "is a loop"},
		{"geneve", 1, "no fixed place"},
		{"ifname eth0", 1, "choose interfaces outside the filter"},
		{"ip proto foo", 10, `unknown protocol "foo"`},
		{"tcp proto 6", 1, `"tcp" carries no numbered protocol`},
		{"ether", 6, `after "ether"`},
		{"tcp broadcast", 5, "has no broadcast"},
		{"less ip", 6, "expected a number"},
		{"tcp # 80", 5, "unexpected character '#'"},
		{"tcp é", 5, "unexpected character 'é'"},
		{`ip proto \`, 10, "a name after the backslash"},
		{strings.Repeat("(", 500), 101, "levels of nesting"},
	}
	for _, tt := range tests {
		_, err := pcapfilter.Parse(tt.expr)
		var e *pcapfilter.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: got %v, want an error at column %d", tt.expr, err, tt.column)
			continue
		}
		if e.Column != tt.column || !strings.Contains(e.Msg, tt.msg) {
			t.Errorf("%q: got column %d: %s, want column %d: %s", tt.expr, e.Column, e.Msg, tt.column, tt.msg)
		}
	}
}

func TestErrorPointsAtTheColumn(t *testing.T) {
	_, err := pcapfilter.Parse("tcp port htttp")
	var e *pcapfilter.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	want := "tcp port htttp\n         ^"
	if got := e.Point(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatALinkLacksIsAnErrorOnThatLink(t *testing.T) {
	tests := []struct {
		expr string
		link pcapfilter.LinkType
		ok   bool
	}{
		{"ether host 02:00:00:00:00:01", pcapfilter.LinkNetwork, false},
		{"ether[0] = 1", pcapfilter.LinkNetwork, false},
		{"broadcast", pcapfilter.LinkNetwork, false},
		{"multicast", pcapfilter.LinkRaw, false},
		{"mpls", pcapfilter.LinkNetwork, false},
		{"vlan and vlan", pcapfilter.LinkNetwork, false},
		{"vlan", pcapfilter.LinkLinuxSLL2, false},
		{"vlan 5 and arp", pcapfilter.LinkNetwork, true},
		{"ip multicast or ip6 multicast", pcapfilter.LinkNetwork, true},
		{"arp", pcapfilter.LinkRaw, true},
		{"tcp", pcapfilter.LinkType(147), false},
	}
	for _, tt := range tests {
		e, err := pcapfilter.Parse(tt.expr)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		if _, err := e.Compile(tt.link); (err == nil) != tt.ok {
			t.Errorf("%q on %v: got error %v, want one: %v", tt.expr, tt.link, err, !tt.ok)
		}
	}
}

func TestAnExpressionThatIsTooLargeIsRefused(t *testing.T) {
	_, err := pcapfilter.Parse("port 1" + strings.Repeat(" or 2", 1000))
	if err == nil || !strings.Contains(err.Error(), "too complex") {
		t.Errorf("got %v", err)
	}
}

func TestManyHostsStillCompile(t *testing.T) {
	expr := "host 10.0.0.1"
	for i := range 900 {
		expr += fmt.Sprintf(" or 10.1.%d.%d", i/250, i%250)
	}
	p := compile(t, pcapfilter.LinkEthernet, expr)
	if len(p.Blocks) > 6*901 {
		t.Errorf("got %d comparisons for 901 hosts", len(p.Blocks))
	}
}

func TestProgramsEndBecauseEdgesLeadForward(t *testing.T) {
	for _, expr := range filtertest.Expressions() {
		p := compile(t, pcapfilter.LinkEthernet, expr)
		for i, b := range p.Blocks {
			for _, to := range []int{b.Then, b.Else} {
				if to >= 0 && to <= i || to < pcapfilter.Reject || to >= len(p.Blocks) {
					t.Errorf("%q: block %d leads to %d of %d", expr, i, to, len(p.Blocks))
				}
			}
		}
	}
}

func TestRedundantComparisonsAreRemoved(t *testing.T) {
	tests := []struct {
		expr   string
		blocks int // what libpcap's optimizer needs, or less
	}{
		{"tcp port 80", 10},
		{"port 53", 14},
		{"host 10.0.0.1", 7},
		{"ip and tcp", 2},
	}
	for _, tt := range tests {
		if got := len(compile(t, pcapfilter.LinkEthernet, tt.expr).Blocks); got > tt.blocks {
			t.Errorf("%q: got %d comparisons, want at most %d", tt.expr, got, tt.blocks)
		}
	}
}
