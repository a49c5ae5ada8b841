// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// lost is a datagram of a port that the kernel dropped, so long after the first.
func lost(reason, location string, port uint16, after time.Duration) event.Event {
	return event.Event{
		Header: event.Header{Time: time.Unix(1000, 0).Add(after), Netns: 7, Ifindex: 2, Iface: "eth0"},
		Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: netip.MustParseAddr("10.9.0.2"), Sport: port, Dst: netip.MustParseAddr("10.244.1.2"), Dport: 53},
		Body:   event.Drop{Reason: reason, Location: location},
	}
}

// judged is the worst that the rule says of events, and how many findings it makes of them.
func judged(events []event.Event, facts ...event.Fact) (worst event.Finding, n int) {
	st := learnt(facts)
	r := NewDrops(st)
	var all event.Folder
	note := func(found []event.Finding) {
		for _, f := range found {
			all.Add(f)
		}
	}
	var now time.Time
	for _, e := range events {
		st.Observe(e)
		note(r.Observe(e))
		if e.Time.After(now) {
			now = e.Time
		}
		note(r.Flush(now, false))
	}
	note(r.Flush(now, true))
	for _, f := range event.Worst(all.All()) {
		return f, len(all.All())
	}
	return worst, 0
}

// drops are so many, so far from each other, each of another flow.
func drops(n int, reason string, every time.Duration) []event.Event {
	all := make([]event.Event, 0, n)
	for i := range n {
		all = append(all, lost(reason, "f", uint16(40000+i), time.Duration(i)*every))
	}
	return all
}

// passing puts so many packets before each event that pass the same device.
func amid(n int, events []event.Event) []event.Event {
	var all []event.Event
	for _, e := range events {
		for range n {
			all = append(all, of(e, event.Hop{}))
		}
		all = append(all, e)
	}
	return all
}

func TestHowBadDropsAreIsAMatterOfHowMany(t *testing.T) {
	syn := func(after time.Duration) event.Event {
		e := lost("UDP_CSUM", "f", 40000, after)
		e.Packet.Proto, e.Packet.Flags, e.Body = "tcp", "S", event.Drop{Reason: "TCP_CSUM", Location: "f"}
		return e
	}
	queue := func(sent, dropped uint64) event.Fact {
		return event.Fact{Qdisc: &event.Qdisc{Netns: 7, Ifindex: 2, Kind: "tbf", Handle: 0x80010000, Parent: 0xffffffff, Packets: sent, Dropped: dropped}}
	}
	unplugged := event.Fact{Qdisc: &event.Qdisc{Netns: 7, Ifindex: 2, Kind: "noqueue", Parent: 0xffffffff, NoCarrier: true}}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		events []event.Event
		facts  []event.Fact
		id     string
		want   event.Severity
	}{
		{"a stray one", drops(1, "UDP_CSUM", 0), nil, "checksum-error", event.Info},
		{"a handful", drops(4, "UDP_CSUM", ms), nil, "checksum-error", event.Info},
		{"a few a minute", drops(20, "UDP_CSUM", 5*time.Second), nil, "checksum-error", event.Info},
		{"many", drops(8, "UDP_CSUM", 100*ms), nil, "checksum-error", event.Warning},
		{"so many that nothing works", drops(30, "UDP_CSUM", 100*ms), nil, "checksum-error", event.Critical},
		{"a few of all that pass", amid(1000, drops(30, "UDP_CSUM", 100*ms)), nil, "checksum-error", event.Info},
		{"all that pass", amid(1, drops(8, "UDP_CSUM", 100*ms)), nil, "checksum-error", event.Critical},
		{"a connection that is tried twice", []event.Event{syn(0), syn(time.Second)}, nil, "checksum-error", event.Critical},
		{"a full queue for a moment", drops(40, "QDISC_DROP", 5*ms), []event.Fact{queue(0, 0), queue(60, 40)}, "queue-drop", event.Info},
		{"a queue that is full again and again", drops(40, "QDISC_DROP", 200*ms), []event.Fact{queue(0, 0), queue(60, 40)}, "queue-drop", event.Warning},
		{"what TCP learns the rate from", drops(40, "QDISC_DROP", 200*ms), []event.Fact{queue(0, 0), queue(6000, 40)}, "queue-drop", event.Info},
		{"what the queue dropped before", drops(40, "QDISC_DROP", 200*ms), []event.Fact{queue(0, 6000), queue(6000, 6040)}, "queue-drop", event.Info},
		{"a queue that is not known", drops(40, "FQ_FLOW_LIMIT", 200*ms), nil, "queue-drop", event.Info},
		{"a device without a carrier", drops(30, "QDISC_DROP", 100*ms), []event.Fact{unplugged}, "kernel-drop", event.Critical},
		{"one that a socket has no room for", drops(1, "SOCKET_RCVBUFF", 0), nil, "socket-buffer-full", event.Info},
		{"many that a socket has no room for", drops(8, "SOCKET_RCVBUFF", 100*ms), nil, "socket-buffer-full", event.Warning},
		{"a connection that is not accepted", drops(1, "TCP_LISTEN_OVERFLOW", 0), nil, "accept-queue-full", event.Warning},
		{"frames with the device's own MAC", drops(8, "LOCAL_MAC", 100*ms), nil, "duplicate-address", event.Warning},
		{"what TCP sorts out by itself", drops(9, "TCP_INVALID_SEQUENCE", 100*ms), nil, "", ""},
		{"the same without end", drops(200, "TCP_INVALID_SEQUENCE", 100*ms), nil, "kernel-drop", event.Info},
		{"a reason of a newer kernel", drops(1, "FLUX_CAPACITOR", 0), nil, "kernel-drop", event.Info},
		{"a reason of a newer kernel, often", drops(30, "FLUX_CAPACITOR", 100*ms), nil, "kernel-drop", event.Critical},
		{"a queue's reason of a newer kernel", drops(1, "QDISC_PATIENCE", 0), nil, "queue-drop", event.Info},
		{"no reason", drops(9, event.ReasonNotReported, 100*ms), nil, "", ""},
		{"no reason, often", drops(200, event.ReasonNotReported, 100*ms), nil, "kernel-drop", event.Info},
	} {
		f, n := judged(tt.events, tt.facts...)
		if f.ID != tt.id || f.Severity != tt.want || tt.id != "" && n != 1 {
			t.Errorf("%s: %s %s in %d findings, want %s %s in one: %s %q", tt.name, f.Severity, f.ID, n, tt.want, tt.id, f.Title, f.Evidence)
		}
	}
}

// TestADropThatFailedSomethingIsNoStrayOne: its packet is known to have had no answer.
func TestADropThatFailedSomethingIsNoStrayOne(t *testing.T) {
	for _, reason := range []string{"UDP_CSUM", "FLUX_CAPACITOR", event.ReasonNotReported} {
		e := lost(reason, "some_function", 40000, 0)
		st := learnt(nil, e)
		f, ok := st.ProvesFailure(e, e.Body.(event.Drop))
		if !ok || f.Severity != event.Critical || !strings.Contains(f.Title, reason) && !strings.Contains(f.Title, "some_function") {
			t.Errorf("%s: %s %q", reason, f.Severity, f.Title)
		}
	}
}

// TestOldKernelsAreJudgedByTheFunction: before 5.17 there is no reason.
func TestOldKernelsAreJudgedByTheFunction(t *testing.T) {
	for function, id := range map[string]string{
		"kfree_skb_list": "queue-drop", "do_xdp_generic": "bpf-drop", "veth_xdp_rcv_skb": "bpf-drop", "ip_finish_output": "bpf-drop", "enqueue_to_backlog": "queue-drop",
		"__udp_queue_rcv_skb": "socket-buffer-full", "br_handle_frame_finish": "kernel-drop", "tcp_v4_rcv": "", "nf_queue": "netfilter-drop", "nf_reinject": "netfilter-drop",
	} {
		e := lost(event.ReasonNotReported, function, 40000, 0)
		f, _ := learnt(nil, e).Proves(e, e.Body.(event.Drop))
		if f.ID != id || strings.Contains(fmt.Sprint(f.Title, f.Cause, f.Remedy), "{") {
			t.Errorf("%s: %q, want %q: %s", function, f.ID, id, f.Title)
		}
	}
}

// TestEveryReasonHasAWholeMeaning: what is said of it can be read.
func TestEveryReasonHasAWholeMeaning(t *testing.T) {
	seen := map[string]bool{}
	for i, m := range meanings() {
		for _, reason := range append(m.reasons, m.functions...) {
			if seen[reason] && m.harm != elsewhere {
				t.Errorf("%s stands twice in the table", reason)
			}
			seen[reason] = true
			if m.harm == elsewhere {
				continue
			}
			e := lost(reason, "f", 40000, 0)
			if slices.Contains(m.functions, reason) {
				e = lost(event.ReasonNotReported, reason, 40000, 0)
			}
			f, ok := byReason(NewState(), e, e.Body.(event.Drop))
			if text := fmt.Sprint(f.Title, f.Cause, f.Remedy, f.Subject); !ok || f.ID != m.id || strings.ContainsAny(text, "{}") {
				t.Errorf("%s: %v %+v", reason, ok, f)
			}
		}
		if m.harm != elsewhere && (m.id == "" || m.title == "" || m.cause == "" || m.remedy == nil) {
			t.Errorf("row %d lacks something: %+v", i, m)
		}
	}
}

// TestAPodThatAsksItselfNeedsTheHairpin: the conntrack entry has one address at both its ends.
func TestAPodThatAsksItselfNeedsTheHairpin(t *testing.T) {
	pod, service := netip.MustParseAddrPort("10.244.1.2:40000"), netip.MustParseAddrPort("10.96.0.5:80")
	backend := netip.AddrPortFrom(pod.Addr(), 8080)
	other := netip.MustParseAddrPort("10.244.1.3:8080")
	for _, tt := range []struct {
		reply packet.FlowTuple
		want  string
	}{
		{packet.FlowTuple{Src: backend, Dst: pod}, "hairpin-disabled"},
		{packet.FlowTuple{Src: other, Dst: pod}, "kernel-drop"},
	} {
		e := lost("NOT_SPECIFIED", "br_handle_frame_finish", 40000, 0)
		d := e.Body.(event.Drop)
		d.Conntrack = event.NewConntrack(packet.FlowTuple{Src: pod, Dst: service}, tt.reply)
		if f, _ := NewState().Proves(of(e, d), d); f.ID != tt.want {
			t.Errorf("%v: %q, want %q", tt.reply, f.ID, tt.want)
		}
	}
}

// TestAProgramThatJudgesPacketsIsNamedByItsTable: the drop says no more than that there is one.
func TestAProgramThatJudgesPacketsIsNamedByItsTable(t *testing.T) {
	for table, said := range map[string]string{
		"kube-network-policies": "(NFQUEUE), most likely that of kube-network-policies, drops packets", "kindnet-network-policies": "(NFQUEUE), most likely that of kindnet, drops packets",
		"filter": "(NFQUEUE) drops packets",
	} {
		e := lost(event.ReasonNotReported, "nf_reinject", 40000, 0)
		st := learnt([]event.Fact{{Chain: &event.ChainFact{Netns: e.Netns, Family: "inet", Table: table, Chain: "postrouting", Hook: "postrouting"}}}, e)
		if f, _ := st.Proves(e, e.Body.(event.Drop)); f.ID != "netfilter-drop" || !strings.Contains(f.Title, said) {
			t.Errorf("%s: %s %q, want %q in it", table, f.ID, f.Title, said)
		}
	}
}

// TestTheProgramThatDropsIsNamed: the one that is where the packet was dropped, of all that are known.
func TestTheProgramThatDropsIsNamed(t *testing.T) {
	const group, other = 4711, 815
	program := func(at string, id uint32, cgroup uint64, dir string) event.Fact {
		p := event.Program{Netns: 7, Ifindex: 2, At: at, ID: id, Name: "lab", Cgroup: cgroup, Dir: dir}
		if cgroup != 0 {
			p.Netns, p.Ifindex = 0, 0
		}
		return event.Fact{Program: &p}
	}
	facts := []event.Fact{
		program("xdp", 1, 0, ""), program("tcx/ingress", 2, 0, ""), program("clsact/egress", 3, 0, ""),
		program(event.AtCgroupEgress, 4, group, "/sys/fs/cgroup/a.slice"), program(event.AtCgroupIngress, 5, group, "/sys/fs/cgroup/a.slice"),
		program(event.AtCgroupEgress, 6, other, "/sys/fs/cgroup/b.slice"),
	}
	for _, tt := range []struct{ reason, function, title, subject, remedy string }{
		{"NOT_SPECIFIED", "do_xdp_generic", "An XDP program at eth0 in netns 7 (program 1, lab) drops", "eth0 in netns 7", "nsenter -t $(lsns -no PID 7 | head -1) -n bpftool net show dev eth0   # the program"},
		{"NOT_SPECIFIED", "veth_xdp_rcv_skb", "An XDP program at eth0 in netns 7 (program 1, lab) drops", "eth0 in netns 7", "nsenter -t $(lsns -no PID 7 | head -1) -n bpftool net show dev eth0   # the program"},
		{"TC_INGRESS", "f", "A filter or program of tc at eth0 in netns 7 (program 2, lab) drops", "eth0 in netns 7", "nsenter -t $(lsns -no PID 7 | head -1) -n bpftool net show dev eth0   # programs at tc, tcx and XDP"},
		{"TC_EGRESS", "f", "A filter or program of tc at eth0 in netns 7 (program 3, lab) drops", "eth0 in netns 7", "nsenter -t $(lsns -no PID 7 | head -1) -n bpftool net show dev eth0   # programs at tc, tcx and XDP"},
		{"BPF_CGROUP_EGRESS", "ip_finish_output", "A BPF program of the sender's control group (program 4, lab) drops", "cgroup/egress of /sys/fs/cgroup/a.slice",
			"bpftool cgroup tree /sys/fs/cgroup/a.slice   # which group has which program"},
		{event.ReasonNotReported, "ip6_finish_output", "A BPF program of the sender's control group (program 4, lab) drops", "cgroup/egress of /sys/fs/cgroup/a.slice",
			"bpftool cgroup tree /sys/fs/cgroup/a.slice   # which group has which program"},
		{"SOCKET_FILTER", "f", "A BPF program of the receiver's control group (program 5, lab) drops", "cgroup/ingress of /sys/fs/cgroup/a.slice",
			"bpftool cgroup tree /sys/fs/cgroup/a.slice   # which group has which program"},
	} {
		e := lost(tt.reason, tt.function, 40000, 0)
		e.Cgroup = group
		f, _ := learnt(facts, e).Proves(e, e.Body.(event.Drop))
		if f.ID != "bpf-drop" || !strings.HasPrefix(f.Title, tt.title) || f.Subject != tt.subject || f.Remedy[0].String() != tt.remedy {
			t.Errorf("%s in %s: %s %q of %q, %q", tt.reason, tt.function, f.ID, f.Title, f.Subject, f.Remedy)
		}
	}
}
