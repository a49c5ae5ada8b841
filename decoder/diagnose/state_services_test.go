// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// serviceFacts are facts about services.
func serviceFacts(all ...event.ServiceFact) []event.Fact {
	var facts []event.Fact
	for _, s := range all {
		facts = append(facts, event.Fact{Service: &s})
	}
	return facts
}

func TestServiceThatHasTheAddressNow(t *testing.T) {
	first, second := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.96.0.2")
	web := event.ServiceFact{Source: "api", Namespace: "shop", Name: "web", Addrs: []netip.Addr{first}, Ports: []event.ServicePort{{Proto: "tcp", Port: 80}}}
	moved, gone := web, web
	moved.Addrs, gone.Gone = []netip.Addr{second}, true
	all := event.ServiceFact{Source: "cidr", CIDR: netip.MustParsePrefix("10.96.0.0/12")}
	for _, c := range []struct {
		name  string
		facts []event.ServiceFact
		at    netip.Addr
		known bool
		want  string
	}{
		{"one that is known", []event.ServiceFact{web}, first, true, "web"},
		{"another address", []event.ServiceFact{web}, second, false, ""},
		{"the address that it had", []event.ServiceFact{web, moved}, first, false, ""},
		{"the address that it got", []event.ServiceFact{web, moved}, second, true, "web"},
		{"one that is gone", []event.ServiceFact{web, gone}, first, false, ""},
		{"an address of the range", []event.ServiceFact{all, web}, second, true, ""},
		{"a name rather than the range", []event.ServiceFact{all, web}, first, true, "web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, known := learnt(serviceFacts(c.facts...)).ServiceAt(7, "tcp", netip.AddrPortFrom(c.at, 80))
			if known != c.known || s.Name != c.want {
				t.Errorf("got %q, %t, want %q, %t", s.Name, known, c.want, c.known)
			}
		})
	}
}

// Packets of a flow that was reported already, on a node of a large cluster.
func BenchmarkTranslations(b *testing.B) {
	var all []event.ServiceFact
	for i := range 5000 {
		a := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		all = append(all, event.ServiceFact{Source: "api", Namespace: "ns", Name: fmt.Sprint(i), Addrs: []netip.Addr{a}})
	}
	stage := NewTranslations(learnt(serviceFacts(all...))).Stage()
	client, service, backend := netip.MustParseAddrPort("10.244.1.2:4000"), netip.MustParseAddrPort("10.96.1.1:53"), netip.MustParseAddrPort("10.244.2.3:53")
	c := event.NewConntrack(packet.FlowTuple{Src: client, Dst: service}, packet.FlowTuple{Src: backend, Dst: client})
	e := event.Event{
		Header: event.Header{Netns: 7, Direction: event.Out, Journey: 1},
		Packet: &packet.Packet{Proto: "udp", Src: client.Addr(), Sport: client.Port(), Dst: backend.Addr(), Dport: backend.Port()},
		Body:   event.Hop{Conntrack: c},
	}
	for b.Loop() {
		stage.Observe(e)
	}
}

// TestWhatPodsSayOfServicesIsBounded wants the latest pods' services known, those that came from elsewhere kept, and
// no more remembered than there is room for.
func TestWhatPodsSayOfServicesIsBounded(t *testing.T) {
	s := newServices()
	addr, last := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.96.9.9")
	ports := []event.ServicePort{{Proto: "tcp", Port: 80}}
	s.learn(time.Time{}, event.ServiceFact{Source: "api", Namespace: "a", Name: "b", Addrs: []netip.Addr{addr}, Ports: ports})
	for i := range uint32(2*maxPodFacts + 5) {
		s.learn(time.Time{}, event.ServiceFact{Source: "env", Netns: i, Addrs: []netip.Addr{last}, Ports: ports})
	}
	if len(s.facts) > maxPodFacts+1 || len(s.at[last]) > maxPodFacts || s.podFacts != len(s.facts)-1 {
		t.Errorf("%d facts, %d of one address, %d guesses", len(s.facts), len(s.at[last]), s.podFacts)
	}
	if len(s.at[addr]) != 1 || s.at[last][len(s.at[last])-1].netns != 2*maxPodFacts+4 {
		t.Error("what the API says, or the latest of what pods do, is forgotten")
	}
	s.learn(time.Time{}, event.ServiceFact{Source: "env", Netns: 2*maxPodFacts + 4, Addrs: []netip.Addr{last}, Gone: true})
	if s.podFacts != len(s.facts)-1 {
		t.Errorf("%d guesses of %d facts after one is gone", s.podFacts, len(s.facts))
	}
}
