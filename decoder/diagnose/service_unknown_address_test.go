// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"ktrace/decoder/event"
)

// TestAnAddressThatNoServiceHasAnyMore: one in the midst of those that services have, whatever the source. One that a
// device has, and one that may be beyond the range, is none.
func TestAnAddressThatNoServiceHasAnyMore(t *testing.T) {
	syn := lostSYN()
	to := syn.Packet.Dst
	service := func(source, name string, a netip.Addr) event.ServiceFact {
		return event.ServiceFact{Source: source, Namespace: "shop", Name: name, Addrs: []netip.Addr{a}, Ports: []event.ServicePort{{Proto: "tcp", Port: 80}}}
	}
	low, high := service("api", "low", to.Prev()), service("api", "high", to.Next())
	far := service("api", "far", netip.MustParseAddr("192.0.2.1"))
	here, gone := service("api", "web", to), service("api", "web", to)
	gone.Gone = true
	rules := func(f event.ServiceFact) event.ServiceFact {
		f.Source, f.Netns = "iptables", syn.Netns
		return f
	}
	env := event.ServiceFact{Source: "env", Netns: 8, Addrs: []netip.Addr{to}, Ports: []event.ServicePort{{Proto: "tcp", Port: syn.Packet.Dport}}}
	device := event.Fact{Device: &event.Device{Netns: 9, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(to, 24)}}}
	client := event.Fact{Device: &event.Device{Netns: 8, Ifindex: 2, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(syn.Packet.Src, 24)}}}
	for _, c := range []struct {
		name  string
		facts []event.Fact
		sure  event.Confidence // "" is nothing
		says  string
	}{
		{"as the API says", serviceFacts(low, high), event.Likely, "no service has it"},
		{"deleted meanwhile", serviceFacts(low, high, here, gone), event.Likely, "no service has it"},
		{"the client's environment names it", append(serviceFacts(low, high, env), client), event.Likely, "no service has it"},
		{"as the rules say", serviceFacts(rules(low), rules(high)), event.Possible, "the node has no rule for it"},
		{"a device has it", append(serviceFacts(low, high), device), "", ""},
		{"beyond the range", serviceFacts(far), "", ""},
		{"no service is known", nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, ok := learnt(c.facts).dnatMiss(syn, nil, "here")
			if ok != (c.sure != "") || f.Confidence != c.sure || !strings.Contains(f.Title, c.says) {
				t.Fatalf("found %v: %s %q, want %s %q", ok, f.Confidence, f.Title, c.sure, c.says)
			}
			if ok && (f.ID != "service-dnat-miss" || f.Severity != event.Warning) {
				t.Errorf("found %s %s", f.Severity, f.ID)
			}
		})
	}
}
