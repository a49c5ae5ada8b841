// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
	"ktrace/tracer"
	"ktrace/tracer/kallsyms"
	"ktrace/tracer/netns"
	"ktrace/tracer/probe"
	"ktrace/tracer/procfs"
)

// watch traces UDP and ICMP in the namespaces while traffic runs, with an Enricher, and returns all events of the stream that
// are about them: an Enricher begins with every namespace of the machine, those of tests that run beside this one among them.
func watch(t *testing.T, spaces []*lab.NS, traffic func()) []event.Event {
	t.Helper()
	const udpAndICMP = probe.UDP | probe.ICMP
	w := NewEnricher(observe(t))
	tr, err := tracer.Open(tracer.Options{
		Poll:    func(probe.Maps) ([]event.Fact, error) { return w.Poll(), nil },
		Probes:  []string{probe.Path},
		Globals: []probe.Globals{probe.PathFilter{Hops: udpAndICMP, Drops: udpAndICMP, Snap: 512}, probe.Selection{Selecting: true}},
		Prepare: func(m probe.Maps) error {
			var errs []error
			for _, ns := range spaces {
				errs = append(errs, m(probe.Path, "sel_netns").Put(ns.Inode(), uint8(1)))
			}
			return errors.Join(errs...)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if err := tr.Emit(w.Begin(spaces[0].Inode())...); err != nil {
		t.Fatal(err)
	}
	traffic()
	stream := &decoder.Stream{Frames: tr, Enrichers: []decoder.Enricher{kallsyms.NewSymbols(), w}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // so that what was put off is asked
	defer cancel()
	var all []event.Event
	for {
		e, err := stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if concerns(t, e, spaces) {
			all = append(all, e)
		}
	}
	if lost := stream.Counts().Lost.Total(); lost > 0 {
		t.Errorf("%d records were lost", lost)
	}
	return all
}

// concerns reports whether an event is about one of the namespaces, or about none.
func concerns(t *testing.T, e event.Event, spaces []*lab.NS) bool {
	t.Helper()
	inode := e.Netns
	if f, ok := e.Body.(event.Fact); ok {
		text, err := json.Marshal(f) // every kind of fact names its namespace alike
		if err != nil {
			t.Fatal(err)
		}
		var kinds map[string]struct {
			Netns uint32
			About struct{ Netns uint32 }
		}
		if err := json.Unmarshal(text, &kinds); err != nil {
			t.Fatal(err)
		}
		for _, about := range kinds {
			inode = cmp.Or(about.Netns, about.About.Netns)
		}
	}
	return inode == 0 || slices.ContainsFunc(spaces, func(ns *lab.NS) bool { return ns.Inode() == inode })
}

// facts returns those for which pick returns something.
func facts[T any](events []event.Event, pick func(event.Fact) *T) []T {
	var all []T
	for _, e := range events {
		if f, ok := e.Body.(event.Fact); ok {
			if x := pick(f); x != nil {
				all = append(all, *x)
			}
		}
	}
	return all
}

// fault is a rule that drops, as each tool writes it.
type fault struct {
	name    string
	v6      bool
	rules   [][]string // commands
	text    string     // of the rule to be named
	hook    string
	verdict string
	reject  string
}

func faults() []fault {
	nft := func(body string) [][]string { return [][]string{{"nft", body}} }
	var all []fault
	for _, tool := range []string{"iptables-legacy", "iptables-nft"} {
		add := func(f fault, rules ...string) {
			for _, r := range rules {
				f.rules = append(f.rules, append([]string{strings.Replace(tool, "ip", map[bool]string{true: "ip6", false: "ip"}[f.v6], 1), "-w"}, strings.Fields(r)...))
			}
			f.name = tool + " " + f.name
			all = append(all, f)
		}
		drop := "-A FORWARD -p udp -m udp --dport 53 -j DROP"
		add(fault{name: "DROP in FORWARD", text: drop, hook: "forward", verdict: "drop"}, "-A FORWARD -p tcp -j DROP", drop)
		add(fault{name: "DROP in FORWARD of IPv6", v6: true, text: drop, hook: "forward", verdict: "drop"}, drop)
		reject := "-A DENY -d 10.9.0.2/32 -i veth+ -j REJECT --reject-with icmp-admin-prohibited"
		add(fault{name: "REJECT in a chain of its own", text: reject, hook: "forward", verdict: "reject", reject: "icmp-admin-prohibited"},
			"-N DENY", "-A FORWARD -j DENY", reject)
		add(fault{name: "policy of FORWARD", text: "-P FORWARD DROP", hook: "forward", verdict: "drop"},
			"-A FORWARD -p tcp -j ACCEPT", "-P FORWARD DROP")
		raw := "-A PREROUTING -s 10.0.0.0/8 -j DROP"
		add(fault{name: "DROP in raw PREROUTING", text: raw, hook: "prerouting", verdict: "drop"}, "-t raw "+raw, drop)
		local := "-A OUTPUT -p udp -m udp --dport 53 -j DROP"
		add(fault{name: "rules of another hook are not blamed", text: drop, hook: "forward", verdict: "drop"}, local, drop)
	}
	return append(all,
		fault{name: "nft drop by a set", hook: "forward", verdict: "drop", text: "ip daddr { 10.9.0.2, 10.9.0.3 } udp dport 50-60 counter packets",
			rules: nft(`table inet fw { chain forwarding { type filter hook forward priority 5; ip daddr { 10.9.0.2, 10.9.0.3 } udp dport 50-60 counter drop; counter accept; }; }`)},
		fault{name: "nft reject by a map", hook: "forward", verdict: "reject", reject: "icmpx-admin-prohibited", text: "counter packets",
			rules: nft(`table inet fw { map m { type inet_service : verdict; elements = { 53 : jump deny, 80 : accept }; }; chain deny { counter reject with icmpx admin-prohibited; }; chain forwarding { type filter hook forward priority 5; udp dport vmap @m; }; }`)},
	)
}

func TestTheRuleThatDroppedIsNamed(t *testing.T) {
	const n = 23
	for i, f := range faults() {
		if testing.Short() && i%3 != 0 {
			continue // where a kernel is emulated
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			pod := c.AddPod("a")
			server := lab.ServerAddr
			if f.v6 {
				server = lab.ServerAddr6
			}
			addr := net.JoinHostPort(server, "53")
			echo(t, c.Server, addr)
			send(t, pod.NS, addr, 1, true) // neighbours are resolved now
			for _, r := range f.rules {
				c.Node.Run(r...)
			}
			events := watch(t, []*lab.NS{c.Node, pod.NS}, func() { send(t, pod.NS, addr, n, false) })
			drops := 0
			for _, e := range events {
				if _, ok := e.Body.(event.Drop); ok && e.Packet.Proto == "udp" && e.Netns == c.Node.Inode() {
					drops++
				}
			}
			blames := facts(events, func(f event.Fact) *event.DropRules { return f.DropRules })
			if len(blames) == 0 {
				t.Fatalf("no rule was named for %d drops", drops)
			}
			b := blames[len(blames)-1]
			if len(b.Candidates) == 0 || !strings.HasPrefix(b.Candidates[0].Text, f.text) || b.Candidates[0].Hook != f.hook || b.Candidates[0].Verdict != f.verdict ||
				b.Candidates[0].Reject != f.reject {
				t.Fatalf("got %s, want %s", event.Fact{DropRules: &b}.Summary(), f.text)
			}
			if b.Confidence != event.Certain || int(b.Drops) != drops || b.Candidates[0].Rose < b.Drops || !b.Compared {
				t.Errorf("got %s, want certain, %d drops", event.Fact{DropRules: &b}.Summary(), drops)
			}
		})
	}
}

func TestTheStateOfAServiceIsReportedWhenItsPacketLeavesUntranslated(t *testing.T) {
	const service = "-A KUBE-SERVICES -d 10.96.0.10/32 -p %s -m comment --comment kube-system/kube-dns:%s|cluster|IP -m %s --dport 53 -j KUBE-SVC-%s"
	c := lab.NewCluster(t)
	pod, beside := c.AddPod("a"), c.Namespace("beside") // a node of its own, as another test may have one
	for _, r := range []string{"-N KUBE-SERVICES", "-N KUBE-SVC-TCP", "-N KUBE-SEP-TCP", "-A PREROUTING -j KUBE-SERVICES",
		fmt.Sprintf(service, "tcp", "dns-tcp", "tcp", "TCP"), "-A KUBE-SVC-TCP -j KUBE-SEP-TCP",
		"-A KUBE-SEP-TCP -p tcp -j DNAT --to-destination 10.9.0.2:53"} {
		args := append([]string{"iptables", "-w", "-t", "nat"}, strings.Fields(r)...)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "|", " ")
		}
		c.Node.Run(args...)
		beside.Run(args...)
	}
	events := watch(t, []*lab.NS{c.Node, pod.NS}, func() { send(t, pod.NS, lab.ServiceDNS+":53", 3, false) })
	services := facts(events, func(f event.Fact) *event.ServiceFact { return f.Service })
	if len(services) != 1 || services[0].Name != "kube-dns" || services[0].Netns != c.Node.Inode() {
		t.Errorf("got services %+v, want kube-dns of the node", services)
	}
	states := facts(events, func(f event.Fact) *event.ServiceRules { return f.ServiceRules })
	if len(states) == 0 {
		t.Fatal("no fact about the rules")
	}
	for _, s := range states {
		if s.Netns == c.Node.Inode() && (s.State != event.ServiceMissing || s.Proto != "udp" || s.Addr.String() != lab.ServiceDNS+":53") {
			t.Errorf("got %+v, want missing", s)
		}
	}
}

func TestAHealthyNodeIsNotAskedAboutItsPackets(t *testing.T) {
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	c.Node.Run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-d", lab.ServiceDNS, "--dport", "53", "-j", "DNAT", "--to-destination", lab.ServerAddr+":53")
	echo(t, c.Server, lab.ServerAddr+":53")
	send(t, pod.NS, lab.ServiceDNS+":53", 1, true)
	events := watch(t, []*lab.NS{c.Node, pod.NS}, func() { send(t, pod.NS, lab.ServiceDNS+":53", 23, true) })
	for _, e := range events {
		if f, ok := e.Body.(event.Fact); ok && (f.DropRules != nil || f.Route != nil || f.ServiceRules != nil) {
			t.Errorf("emitted %s", f.Summary())
		}
	}
}

func BenchmarkAPacketThatNeedsNoExplanation(b *testing.B) {
	w := NewEnricher(observe(b))
	e := event.Event{Header: event.Header{Netns: 1, Ifindex: 2, Direction: event.Out}, Body: event.Hop{},
		Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: netip.MustParseAddr("10.244.1.2"), Dst: netip.MustParseAddr("10.9.0.2"), Dport: 53}}
	b.ReportAllocs()
	for b.Loop() {
		w.Enrich(e)
	}
}

func BenchmarkBegin(b *testing.B) {
	c := lab.NewCluster(b)
	for i := range 100 {
		c.Namespace(fmt.Sprint("pod", i))
	}
	for b.Loop() {
		w := NewEnricher(observe(b))
		w.Begin(c.Node.Inode())
		b.ReportMetric(float64(w.seen.Len()), "namespaces")
	}
}

// TestWhatIsPutOffIsReportedAndSoIsItsEnd: a rule must wait for the facts of deferred lookups.
func TestWhatIsPutOffIsReportedAndSoIsItsEnd(t *testing.T) {
	c := lab.NewCluster(t)
	w := NewEnricher(observe(t))
	w.Begin(c.Node.Inode())
	dropped := event.Event{
		Header: event.Header{Netns: c.Node.Inode()},
		Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: netip.MustParseAddr("10.244.1.2"), Dst: netip.MustParseAddr("10.9.0.2"), Dport: 53},
		Body:   event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"},
	}
	count := func(all []event.Fact) (begun, over int) {
		for _, f := range all {
			switch {
			case f.Deferred == nil:
			case f.Deferred.About != event.KeyOf(dropped):
				t.Errorf("emitted %+v", f.Deferred)
			case f.Deferred.Over:
				over++
			default:
				begun++
			}
		}
		return begun, over
	}
	w.free = time.Now().Add(time.Hour) // its share of time is spent
	if begun, over := count(w.Enrich(dropped)); begun != 1 || over != 0 {
		t.Errorf("%d facts that a lookup is deferred, %d that it is over, want one and none", begun, over)
	}
	if begun, over := count(w.Enrich(dropped)); begun+over != 0 {
		t.Errorf("again: %d, %d", begun, over)
	}
	w.pending.Put(bounded.Owner{}, asked{fact: dropRules}, deferred{since: time.Now().Add(-time.Hour)}, 1) // answered before, and no rule waits
	if first := w.openQuestions()[0]; first != (asked{dropRules, event.KeyOf(dropped)}) {
		t.Errorf("%+v is asked first, want which rule dropped it, for that is waited for", first)
	}
	w.pending.Delete(asked{fact: dropRules})
	for w.pending.Len() > 0 { // each has its share of time, too
		if begun, over := count(w.Poll()); begun != 0 || over > 1 || (over == 1) != (w.pending.Len() == 0) {
			t.Errorf("with %d lookups left, %d facts that one is deferred and %d that it is over", w.pending.Len(), begun, over)
		}
	}
	w.free = time.Time{}
	if begun, over := count(w.Enrich(dropped)); begun+over != 0 {
		t.Errorf("%d and %d of what was looked up before", begun, over)
	}
}

// TestWhatAPodClaimsTakesNoServiceAway: a pod may name a service in its environment, and then no more.
func TestWhatAPodClaimsTakesNoServiceAway(t *testing.T) {
	w := NewEnricher(New(netns.NewFinder(procfs.New("/"))))
	dns := netip.MustParseAddr("10.96.0.10")
	listed := event.ServiceFact{Source: "iptables", System: "iptables-nft", Netns: 7, Addrs: []netip.Addr{dns}}
	claim := event.ServiceFact{Source: "env", Netns: 8, Addrs: []netip.Addr{dns}}
	w.learn(event.Fact{Service: &listed})
	w.learn(event.Fact{Service: &claim})
	claim.Gone = true
	w.learn(event.Fact{Service: &claim})
	clear(w.claimed)
	if !w.isService(7, dns) {
		t.Error("the service went with a pod's environment")
	}
	w.learn(event.Fact{Service: &event.ServiceFact{Source: "nftables", Netns: 8, CIDR: netip.MustParsePrefix("0.0.0.0/0")}})
	if w.isService(7, netip.MustParseAddr("1.1.1.1")) {
		t.Error("what rules in another namespace say holds for all")
	}
}

// TestServicesThatAreGoneAreForgotten: a run of months sees many come and go, and namespaces with tunnels.
func TestServicesThatAreGoneAreForgotten(t *testing.T) {
	w := NewEnricher(New(netns.NewFinder(procfs.New("/"))))
	for i := range 2 * maxNetns {
		addr := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		s := event.ServiceFact{Addrs: []netip.Addr{addr}}
		w.learn(event.Fact{Service: &s})
		if !w.isService(7, addr) {
			t.Fatalf("%v is no service", addr)
		}
		s.Gone = true
		w.learn(event.Fact{Service: &s})
		w.learn(event.Fact{Device: &event.Device{Netns: uint32(i + 1), Name: "vxlan0", Type: "vxlan", Down: true}})
	}
	if len(w.services) > 0 || len(w.silent) > maxNetns {
		t.Errorf("%d services and %d namespaces are kept", len(w.services), len(w.silent))
	}
}
