// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer/netns"
	"ktrace/tracer/probe"
)

func TestMain(m *testing.M) { lab.Main(m, hops, nil) }

// WANT_ bits of path.bpf.c.
// hops is a ktrace that shows every hop of UDP and ICMP packets.
func hops() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var f flags.Flags
	fs := pflag.NewFlagSet("hops", pflag.ContinueOnError)
	f.Add(fs)
	f.AddLive(fs)
	streams := replay.Streams{Out: os.Stdout, Err: os.Stderr}
	err := fs.Parse(os.Args[1:])
	if err == nil {
		err = live.Run(ctx, f, live.View{Probes: []string{probe.Path}, View: replay.View{Kinds: []event.Kind{event.KindHop}},
			Path: &probe.PathFilter{Hops: probe.UDP | probe.ICMP}}, streams)
	}
	os.Exit(flags.Exit(os.Stderr, err))
}

// life is what the runtime says of a pod.
type life struct {
	name, uid          string
	addr               netip.Addr
	netns              uint32
	asked, ended, gone time.Time // the runtime was asked to start it, asked to end it, and said that it had
	started            time.Time // its first container is
}

// at reports whether the pod can have had its address then.
func (l life) at(t time.Time) bool { return t.After(l.asked) && t.Before(l.gone) }

// hop is what is looked at of an event.
type hop struct {
	Time      time.Time
	Pod, Peer struct{ UID, Name, Container, Source string }
	Netns     uint32
	Packet    struct {
		Src, Dst netip.Addr
		Dport    uint16
	}
}

// verdict counts how well events are named.
type verdict struct {
	ends                      int // of packets that are pods'
	wrong                     []string
	young, established, ended []string // not named: in its first second, then, and after it was asked to end
	adrift                    int      // sent to a pod that was asked to end, not named: the address may be gone already
}

func (v *verdict) judge(h hop, lives []life) {
	claimed := map[string]bool{h.Pod.UID: true, h.Peer.UID: true}
	delete(claimed, "")
	right := map[string]bool{}
	for _, addr := range []netip.Addr{h.Packet.Src, h.Packet.Dst} {
		var owners []life
		for _, l := range lives {
			if l.addr == addr && l.at(h.Time) {
				owners = append(owners, l)
				right[l.uid] = true
			}
		}
		if len(owners) != 1 {
			continue // nobody's, or passed on at that very time
		}
		v.ends++
		o := owners[0]
		if claimed[o.uid] {
			continue
		}
		what := fmt.Sprintf("%s %v after its start: %+v", o.name, h.Time.Sub(o.asked), h)
		switch {
		case h.Time.After(o.ended) && h.Netns != o.netns:
			v.adrift++
		case h.Time.After(o.ended):
			v.ended = append(v.ended, what)
		case h.Time.Before(o.started.Add(time.Second)):
			v.young = append(v.young, what)
		default:
			v.established = append(v.established, what)
		}
	}
	for uid := range claimed {
		if !right[uid] {
			v.wrong = append(v.wrong, fmt.Sprintf("%s: %+v", uid, h))
		}
	}
}

func TestPodsThatComeAndGoUnderTrafficAreNamedRight(t *testing.T) {
	c := lab.NewCluster(t)
	r := lab.NewRuntime(t, c.Node, "10.244.200.0/28")
	run := lab.KtraceOn(t, c.Node, "--host-root", r.Root)
	var mu sync.Mutex
	var lives []life
	var there neighbours
	var crew sync.WaitGroup
	jobs := make(chan int)
	for range 4 {
		crew.Go(func() {
			for i := range jobs {
				l, err := liveOnce(r, fmt.Sprintf("web-%d", i), &there)
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				lives = append(lives, l)
				mu.Unlock()
			}
		})
	}
	for i := range 20 {
		jobs <- i
	}
	close(jobs)
	crew.Wait()
	var v verdict
	lines := run.Stop()
	for _, line := range lab.Events(lines, "hop") {
		var h hop
		line.Into(t, &h)
		if h.Packet.Src.Is4() { // the kernel's own talk in IPv6 is to and from addresses that say nothing
			v.judge(h, lives)
		}
	}
	t.Logf("%d ends of packets; %d wrong; not named: %d young, %d established, %d ending; %d adrift", v.ends, len(v.wrong), len(v.young), len(v.established), len(v.ended), v.adrift)
	for _, list := range [][]string{v.wrong, v.established, v.young, v.ended} {
		for _, text := range list[:min(len(list), 3)] {
			t.Log(text)
		}
	}
	unknown := len(v.young) + len(v.established) + len(v.ended)
	if v.ends < 5000 || len(v.wrong) > 0 || len(v.established) > 0 || unknown*1000 > v.ends {
		t.Fail()
	}
}

// asksAndEnds is a container's command: it sends a query and ends after 50 ms, later only where a busy machine has it sent
// later. The pod's other containers have ended, so what its network sends is this one's.
const asksAndEnds = `before=$(grep Udp: /proc/net/snmp)
nslookup -type=a name.test ` + lab.ServerAddr + ` >/dev/null &
usleep 50000
while [ "$before" = "$(grep Udp: /proc/net/snmp)" ]; do usleep 10000; done`

func TestContainersOf50MillisecondsAreNamed(t *testing.T) {
	const pods, each = 4, 50
	c := lab.NewCluster(t)
	r := lab.NewRuntime(t, c.Node, "10.244.200.0/28")
	run := lab.KtraceOn(t, c.Node, "--host-root", r.Root)
	uids := map[string]string{} // of containers' pods
	var mu sync.Mutex
	var crew sync.WaitGroup
	for i := range pods {
		p, err := r.Pod("batch", fmt.Sprintf("job-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		crew.Go(func() {
			for j := range each {
				name := fmt.Sprintf("step-%d-%d", i, j)
				mu.Lock()
				uids[name] = p.UID
				mu.Unlock()
				if err := p.Run(name, asksAndEnds); err != nil {
					t.Error(err)
				}
			}
		})
	}
	crew.Wait()
	queries := 0
	for _, line := range lab.Events(run.Stop(), "hop") {
		var h hop
		line.Into(t, &h)
		if h.Packet.Dport != 53 || h.Pod.Source != "cgroup" {
			continue
		}
		queries++
		if uids[h.Pod.Container] == h.Pod.UID {
			delete(uids, h.Pod.Container)
		} else if h.Pod.Container == "" || !strings.HasSuffix(h.Pod.Name, strings.Split(h.Pod.Container, "-")[1]) {
			t.Errorf("named wrong: %+v", h)
		}
	}
	t.Logf("%d containers, %d hops of queries with their socket", pods*each, queries)
	if len(uids) > 0 {
		t.Errorf("%d containers sent a query and were not named: %v", len(uids), uids)
	}
}

func TestContainerThatEndedBeforeItWasReadIsNamed(t *testing.T) {
	c := lab.NewCluster(t)
	r := lab.NewRuntime(t, c.Node, "10.244.200.0/28")
	p, err := r.Pod("batch", "job-1")
	if err != nil {
		t.Fatal(err)
	}
	run := lab.KtraceOn(t, c.Node, "--host-root", r.Root)
	run.Pause()
	if err := p.Run("step", "ping -q -A -c 10 "+lab.ServerAddr); err != nil {
		t.Fatal(err)
	}
	run.Resume()
	requests := 0
	for _, line := range lab.Events(run.Stop(), "hop") {
		var h hop
		line.Into(t, &h)
		if h.Packet.Dst.String() != lab.ServerAddr || h.Packet.Src.String() != p.Addr || h.Pod.Source != "cgroup" {
			continue
		}
		requests++
		if h.Pod.UID != p.UID || h.Pod.Name != "job-1" || h.Pod.Container != "step" {
			t.Errorf("%+v", h)
		}
	}
	if requests < 10 {
		t.Errorf("%d hops of 10 requests with their socket", requests)
	}
}

func TestPodsWhoseWholeLivesWereReadLaterAreDistinguished(t *testing.T) {
	c := lab.NewCluster(t)
	r := lab.NewRuntime(t, c.Node, "10.244.200.0/30") // one address: each pod has that of the last one
	run := lab.KtraceOn(t, c.Node, "--host-root", r.Root)
	run.Pause()
	var lives []life
	for _, name := range []string{"first", "second", "third"} {
		l, err := liveOnce(r, name, &neighbours{})
		if err != nil {
			t.Fatal(err)
		}
		lives = append(lives, l)
	}
	run.Resume()
	var v verdict
	own := 0
	for _, line := range lab.Events(run.Stop(), "hop") {
		var h hop
		line.Into(t, &h)
		if !h.Packet.Src.Is4() {
			continue
		}
		v.judge(h, lives)
		own += bareRequest(t, h, lives)
	}
	t.Logf("%d ends of packets, %d of requests; %d wrong; not named: %d young, %d established, %d ending, %d adrift", v.ends, own, len(v.wrong), len(v.young), len(v.established), len(v.ended), v.adrift)
	for _, text := range v.wrong[:min(len(v.wrong), 3)] {
		t.Error(text)
	}
	if own < 100 {
		t.Errorf("%d requests are not enough to tell anything", own)
	}
}

// bareRequest fails the test if a packet that a pod sent has not its name, wherever it is. It returns 1 of such a packet.
func bareRequest(t *testing.T, h hop, lives []life) int {
	t.Helper()
	for _, l := range lives {
		if h.Packet.Src != l.addr || !h.Time.After(l.started) || !h.Time.Before(l.ended) {
			continue
		}
		if h.Pod.UID != l.uid && h.Peer.UID != l.uid {
			t.Errorf("%s sent %+v", l.name, h)
		}
		return 1
	}
	return 0
}

// TestWhatIsAddedToARunningPodIsNamed: a command that is executed in a container is that container's; one that is added
// later, as an ephemeral one is, has its own name.
func TestWhatIsAddedToARunningPodIsNamed(t *testing.T) {
	const pings = 5
	c := lab.NewCluster(t)
	r := lab.NewRuntime(t, c.Node, "10.244.200.0/28")
	web, err := r.Pod("default", "web-0")
	if err != nil {
		t.Fatal(err)
	}
	app, err := web.Start("app", "sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	run := lab.KtraceOn(t, c.Node, "--host-root", r.Root, "--pod", "default/web-0")
	ping := fmt.Sprintf("ping -q -A -c %d %s", pings, lab.ServerAddr)
	if err := web.Exec(app, ping); err != nil {
		t.Fatal(err)
	}
	if err := web.Run("debugger", ping); err != nil {
		t.Fatal(err)
	}
	sent := map[string]int{} // requests with their socket, by container
	for _, line := range lab.Events(run.Stop(), "hop") {
		var h hop
		line.Into(t, &h)
		if h.Pod.Source == "cgroup" && h.Pod.UID == web.UID && h.Packet.Dst == netip.MustParseAddr(lab.ServerAddr) {
			sent[h.Pod.Container]++
		}
	}
	if len(sent) != 2 || sent["app"] == 0 || sent["app"]%pings != 0 || sent["app"] != sent["debugger"] {
		t.Errorf("requests by container: %v, want as many of app as of debugger, and %d or a multiple", sent, pings)
	}
}

// TestPodInAUserNamespaceIsNamed: its processes are nobody's to the node, but they have their control group.
func TestPodInAUserNamespaceIsNamed(t *testing.T) {
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	c.Server.ServeUDP(net.JoinHostPort(lab.ServerAddr, "53"), func(at net.PacketConn, from net.Addr, query []byte) {
		const isAnswer = 0x80
		query[2] |= isAnswer // or nslookup waits for one
		if _, err := at.WriteTo(query, from); err != nil {
			t.Error(err)
		}
	})
	k := lab.NewKubelet(t)
	pod := k.Pod("default", "mapped-0")
	run := lab.Ktrace(t, "--host-root", k.Root, "--pod", "default/mapped-0")
	pod.Start("app", p.NS, "unshare", "--user", "--map-root-user", "sh", "-c", "busybox nslookup -type=a name.test "+lab.ServerAddr+"; true").Wait()
	named := 0
	for _, line := range lab.Events(run.Stop(), "hop") {
		var h hop
		line.Into(t, &h)
		if h.Packet.Dport == 53 && h.Pod.UID == pod.UID && h.Pod.Container == "app" && h.Pod.Source == "cgroup" {
			named++
		}
	}
	if named == 0 {
		t.Error("no query of the pod's")
	}
}

func TestOneSelectedPodOfTwoIsSeenFromItsFirstPacket(t *testing.T) {
	const pings = 10
	c := lab.NewCluster(t)
	r := lab.NewRuntime(t, c.Node, "10.244.200.0/28")
	other, err := r.Pod("default", "db-0")
	if err != nil {
		t.Fatal(err)
	}
	run := lab.KtraceOn(t, c.Node, "--host-root", r.Root, "--pod", "default/web-*")
	web, err := r.Pod("default", "web-0")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*lab.CRIPod{other, web} {
		if err := p.Run("talker", fmt.Sprintf("ping -q -A -c %d %s", pings, lab.ServerAddr)); err != nil {
			t.Fatal(err)
		}
	}
	requests := 0
	lines := run.Stop()
	for _, line := range lab.Events(lines, "hop") {
		var h hop
		line.Into(t, &h)
		if theirs := netip.MustParseAddr(other.Addr); h.Packet.Src == theirs || h.Packet.Dst == theirs {
			t.Errorf("the other pod's: %+v", h)
		}
		if h.Pod.UID == web.UID && h.Pod.Source == "cgroup" && h.Packet.Dst == netip.MustParseAddr(lab.ServerAddr) {
			requests++
		}
	}
	var s struct {
		Records, Shown int
		Accounting     []struct {
			Kind, Unit string
			Seen       int
		}
	}
	lab.Summary(t, lines).Into(t, &s)
	spare := s.Records - s.Shown
	for _, a := range s.Accounting { // pods that begin and end are of concern
		if a.Unit == "records" && a.Kind != "" && a.Kind != "hop" {
			spare -= a.Seen
		}
	}
	if spare >= pings { // what the kernel says in the pod's namespace before the pod has a name
		t.Errorf("%d hops reached user space for nothing: %+v", spare, s)
	}
	t.Logf("%d hops of %d requests with their socket", requests, pings)
	if requests == 0 || requests%pings != 0 {
		t.Errorf("%d hops of %d requests: some are missing", requests, pings)
	}
}

// neighbours are the addresses of the pods that run.
type neighbours struct {
	mu    sync.Mutex
	addrs []string
}

func (n *neighbours) join(addr string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	others := slices.Clone(n.addrs)
	n.addrs = append(n.addrs, addr)
	return others
}

func (n *neighbours) leave(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = slices.DeleteFunc(n.addrs, func(a string) bool { return a == addr })
}

// liveOnce is a pod's life: it talks to the server, to the node and to the pods that are there, and is removed while they
// talk to it.
func liveOnce(r *lab.Runtime, name string, there *neighbours) (life, error) {
	l := life{name: name, asked: time.Now()}
	p, err := r.Pod("default", name)
	if err != nil {
		return l, err
	}
	l.uid, l.addr = p.UID, netip.MustParseAddr(p.Addr)
	l.netns, err = netns.Inode(fmt.Sprintf("/proc/%d/ns/net", p.PID))
	if err != nil {
		return l, err
	}
	to := append(there.join(p.Addr), lab.ServerAddr, "10.244.200.1")
	l.started = time.Now()
	err = p.Run("talker", "for to in "+strings.Join(to, " ")+"; do ping -q -A -c 50 -w 1 $to & done; wait")
	there.leave(p.Addr)
	l.ended = time.Now()
	p.Remove()
	l.gone = time.Now()
	return l, err
}
