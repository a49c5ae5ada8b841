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

// TestAScanOfPodsFromOutsideIsNotMissed: a policy that takes it does what it is there for. What the
// cluster's own hosts ask for is a loss, and so is what a host outside asks for that scans no ports.
func TestAScanOfPodsFromOutsideIsNotMissed(t *testing.T) {
	rule := &event.RuleFact{System: "iptables-nft", Family: "ipv4", Table: "filter", Chain: "cali-tw-1", Hook: "forward", Number: 7, Text: "-A cali-tw-1 -j DROP", Verdict: "drop"}
	ports := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("10.244.1.2:%d", 20+i))
		}
		return all
	}
	hosts := func(n, port int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("10.244.1.%d:%d", 2+i, port))
		}
		return all
	}
	device := func(prefix string) event.Fact {
		return event.Fact{Device: &event.Device{Netns: 7, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix(prefix)}}}
	}
	endpoint := event.Fact{Service: &event.ServiceFact{Source: "api", Name: "web", Ports: []event.ServicePort{{Proto: "tcp", Port: 80,
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort("203.0.99.1:80")}}}}}
	translated := event.NewConntrack(
		packet.FlowTuple{Src: netip.MustParseAddrPort("203.0.113.9:40000"), Dst: netip.MustParseAddrPort("10.9.0.1:30080")},
		packet.FlowTuple{Src: netip.MustParseAddrPort("10.244.1.2:20"), Dst: netip.MustParseAddrPort("203.0.113.9:40000")})
	for _, tt := range []struct {
		name string
		from string
		to   []string
		pod  string
		nat  *event.Conntrack
		know []event.Fact
		want event.Severity
	}{
		{"many ports of a pod", "203.0.113.9", ports(20), "", nil, nil, event.Info},
		{"one port of many pods", "203.0.113.9", hosts(20, 22), "", nil, nil, event.Info},
		{"one port of a pod", "203.0.113.9", ports(1), "", nil, nil, event.Critical},
		{"one port of a few pods", "203.0.113.9", hosts(8, 443), "", nil, nil, event.Critical},
		{"a few ports of a pod", "203.0.113.9", ports(4), "", nil, nil, event.Critical},
		{"a pod with a public address", "203.0.113.9", ports(20), "uid", nil, nil, event.Critical},
		{"a network nearby", "192.168.7.9", ports(20), "", nil, nil, event.Critical},
		{"another node's pod", "10.244.2.9", ports(20), "", nil, nil, event.Critical},
		{"a provider's NAT", "100.64.0.9", ports(20), "", nil, nil, event.Critical},
		{"the node itself, by a public address", "203.0.113.9", ports(20), "", nil, []event.Fact{device("203.0.113.9/24")}, event.Critical},
		{"a host of the nodes' network", "203.0.113.9", ports(20), "", nil, []event.Fact{device("203.0.7.1/24")}, event.Critical},
		{"a host near a service's endpoint", "203.0.113.9", ports(20), "", nil, []event.Fact{endpoint}, event.Critical},
		{"who was sent here by a node port", "203.0.113.9", ports(20), "", translated, nil, event.Critical},
	} {
		st := learnt(tt.know)
		r := st.Grade(NewDrops(st))
		var folder event.Folder
		for _, to := range tt.to {
			e, facts := ruled(to, rule, event.Certain)
			e.Packet.Src, e.Pod.UID = netip.MustParseAddr(tt.from), tt.pod
			d := e.Body.(event.Drop)
			d.Conntrack = tt.nat
			e.Body = d
			facts[0].DropRules.About = event.KeyOf(e)
			st.Observe(event.Event{Body: facts[0]})
			st.Observe(e)
			r.Observe(e)
		}
		for _, f := range r.Flush(time.Unix(1010, 0), true) {
			folder.Add(f)
		}
		all := event.Worst(folder.All())
		if len(all) != 1 || all[0].Severity != tt.want {
			t.Errorf("%s: %d findings, %+v, want %s", tt.name, len(all), all, tt.want)
		}
	}
}

// TestASlowScanIsWaitedFor: the first of its packets are no fault either, and a client that tries one port is reported soon.
func TestASlowScanIsWaitedFor(t *testing.T) {
	e, _ := ruled("10.244.1.2:22", nil, "")
	e.Packet.Src = netip.MustParseAddr("203.0.113.9")
	inside := e
	packet := *e.Packet
	packet.Src = netip.MustParseAddr("10.244.2.9")
	inside.Packet = &packet
	st := learnt([]event.Fact{{DropRules: &event.DropRules{About: event.KeyOf(e), Candidates: make([]event.Candidate, 1)}},
		{DropRules: &event.DropRules{About: event.KeyOf(inside), Candidates: make([]event.Candidate, 1)}}})
	if !st.awaitsFacts(e, factsWithin) || st.awaitsFacts(e, probedWithin) || st.awaitsFacts(inside, factsWithin) {
		t.Errorf("waits for a scan %v, without end %v, for who is inside %v", st.awaitsFacts(e, factsWithin), st.awaitsFacts(e, probedWithin), st.awaitsFacts(inside, factsWithin))
	}
}
