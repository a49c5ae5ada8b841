// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
)

// encounter is a client that is refused, or reset by its server.
type encounter struct {
	name           string
	client         *lab.NS
	server         *lab.NS
	addr           string // that the client connects to
	at             string // where the server is
	clientIs, peer string // names of pods, "" of the node's own processes
}

// resetRow is what a reset's event says of its ends.
type resetRow struct {
	Pod, Peer struct{ Name string }
	Reset     struct {
		Sender, Cause string
		Connection    struct{ Src, Dst string }
		Backend       string
		BackendPod    string `json:"backend_pod"`
	}
}

// castOfEnds are two pods with names and the node, and all ways in which one of them refuses another.
func castOfEnds(t *testing.T, f stack, k *lab.Kubelet) (*lab.Cluster, []encounter) {
	c := lab.NewCluster(t)
	web, db := c.AddPod("web"), c.AddPod("db")
	for name, p := range map[string]*lab.Pod{"web": web, "db": db} {
		k.Pod("shop", name).Start("main", p.NS, "sleep", "1000").Await()
	}
	addr := func(p *lab.Pod) string {
		if f.ip == "ip" {
			return p.Addr
		}
		return p.Addr6
	}
	for _, p := range []*lab.Pod{web, db} { // the first packet on a new IPv6 link waits
		p.Run("ping", "-c1", "-W20", f.uplink)
	}
	f.kube(c.Node, "api", "tcp", f.service(), net.JoinHostPort(f.uplink, "6443"))
	c.Node.Run(f.iptables, "-t", "nat", "-I", "PREROUTING", "-p", "tcp", "--dport", "30080", "-j", "DNAT", "--to-destination", net.JoinHostPort(addr(db), "8080"))
	return c, []encounter{
		{"both are pods", web.NS, db.NS, net.JoinHostPort(addr(db), "7"), net.JoinHostPort(addr(db), "7"), "web", "db"},
		{"the server is of the node", web.NS, c.Node, net.JoinHostPort(f.uplink, "9100"), net.JoinHostPort(f.uplink, "9100"), "web", ""},
		{"the client is of the node", c.Node, web.NS, net.JoinHostPort(addr(web), "8"), net.JoinHostPort(addr(web), "8"), "", "web"},
		{"the server is of the node, behind a service", web.NS, c.Node, net.JoinHostPort(f.service(), "80"), net.JoinHostPort(f.uplink, "6443"), "web", ""},
		{"the server is a pod, behind a port of the node", web.NS, db.NS, net.JoinHostPort(f.uplink, "30080"), net.JoinHostPort(addr(db), "8080"), "web", "db"},
	}
}

// TestResetNamesEndsByTheirRole: who refuses and who is refused, whichever of them is a pod that is known; and nothing of
// servers that listen and read to the end.
func TestResetNamesEndsByTheirRole(t *testing.T) {
	t.Parallel()
	k := lab.NewKubelet(t)
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			c, all := castOfEnds(t, f, k)
			web := all[0].client
			lines := watchEnds(t, k, c.Node, web, func(run *lab.Run) {
				for _, x := range all {
					fetch(x.client, x.addr, patience)
					run.Await(x.name, func(l lab.Line) bool { return x.refuses(t, l) })
				}
				for _, x := range all {
					x.reads(t, hasty)
					run.Await(x.name, func(l lab.Line) bool { return x.resets(t, l) })
				}
			})
			for _, x := range all {
				x.check(t, lines)
			}
			lines = watchEnds(t, k, c.Node, web, func(*lab.Run) {
				for _, x := range all {
					x.reads(t, whole)
				}
			})
			if ids := wrong(t, lines); len(ids) > 0 {
				t.Errorf("claims %q of servers that read to the end", ids)
			}
		})
	}
}

// TestResetNamesPodsOnTheNodesNetwork: only the cgroup of their sockets distinguishes them, whichever end that is; and
// nothing of it where they are served.
func TestResetNamesPodsOnTheNodesNetwork(t *testing.T) {
	t.Parallel()
	k := lab.NewKubelet(t)
	for _, f := range stacksAt(networkOfNodePods) {
		t.Run(f.name, func(t *testing.T) {
			c := lab.NewClusterAt(t, networkOfNodePods)
			web := c.AddPod("web")
			k.Pod("shop", "web").Start("main", web.NS, "sleep", "1000").Await()
			to := net.JoinHostPort(map[string]string{"ip": web.Addr, "ip -6": web.Addr6}[f.ip], "9")
			web.Run("ping", "-c1", "-W20", f.uplink)
			own := net.JoinHostPort(f.uplink, "7")
			ends := []encounter{
				{name: "refused by a pod", addr: to, at: to, clientIs: "probe", peer: "web"},
				{name: "reset by the node", addr: own, at: own, clientIs: "probe"},
			}
			served := serveOnce(t, c.Node, own, hasty)
			lines := watchEnds(t, k, c.Node, c.Node, func(run *lab.Run) {
				probes(t, k, c.Node, "hasty", to, own)
				for _, x := range ends {
					run.Await(x.name, func(l lab.Line) bool { return x.refuses(t, l) || x.resets(t, l) })
				}
			})
			<-served
			for _, x := range ends {
				x.check(t, lines)
			}
			all := []<-chan struct{}{serveOnce(t, web.NS, to, 0), serveOnce(t, c.Node, own, whole)}
			lines = watchEnds(t, k, c.Node, c.Node, func(*lab.Run) {
				probes(t, k, c.Node, "patient", to, own)
				for _, served := range all {
					<-served
				}
			})
			if ids := wrong(t, lines); len(ids) > 0 {
				t.Errorf("claims %q of servers that read to the end", ids)
			}
		})
	}
}

// watchEnds runs ktrace on the node past what the traffic does to those who are in a namespace, and returns the lines of it
// and of its capture, which must agree.
func watchEnds(t *testing.T, k *lab.Kubelet, node, whose *lab.NS, traffic func(*lab.Run)) []lab.Line {
	file := filepath.Join(t.TempDir(), "run.pcapng")
	run := lab.KtraceOn(t, node, "reset", "--host-root", k.Root, "--netns", whose.Path(), "-w", file)
	traffic(run)
	live := run.Stop()
	return slices.Concat(live, lab.SameRead(t, file, live, "reset", "--netns", whose.Path()))
}

// whole is how many bytes a client sends, and hasty how many of them a server reads that does not wait for the end.
const whole, hasty = 1000, 10

// serveOnce accepts one connection, reads so many bytes of what comes, and closes. The channel is closed when it has.
func serveOnce(t testing.TB, ns *lab.NS, at string, read int) <-chan struct{} {
	t.Helper()
	served := make(chan struct{})
	ns.Do(func() {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(served)
			defer lab.Close(l)
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.ReadFull(c, make([]byte, read))
			lab.Close(c)
		}()
	})
	return served
}

// probes has the pod probe, on the node's network, connect to one address and send to another.
func probes(t testing.TB, k *lab.Kubelet, node *lab.NS, container, connect, send string) {
	begin := filepath.Join(t.TempDir(), "begin")
	if err := unix.Mkfifo(begin, 0o600); err != nil {
		t.Fatal(err)
	}
	device := func(addr string) string {
		host, port, _ := net.SplitHostPort(addr)
		return fmt.Sprintf("/dev/tcp/%s/%s", host, port)
	}
	k.Pod("shop", "probe").Start(container, node, "bash", "-c", fmt.Sprintf("read <%s; exec 3<>%s; exec 3<>%s; printf %%0%dd 0 >&3; read <&3",
		begin, device(connect), device(send), whole)).Await()
	if err := os.WriteFile(begin, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
}

// refuses reports whether a line is about the encounter's refusal, and checks whom it names.
func (x encounter) refuses(t testing.TB, l lab.Line) bool { return x.row(t, l, "refused") }

// resets reports whether a line is about the reset of the encounter's connection, and checks whom it names.
func (x encounter) resets(t testing.TB, l lab.Line) bool { return x.row(t, l, "unread-data") }

func (x encounter) row(t testing.TB, l lab.Line, cause string) bool {
	if l.Type != "event" || l.Kind != "reset" {
		return false
	}
	var row resetRow
	l.Into(t, &row)
	if r := row.Reset; r.Cause != cause || r.Connection.Src != x.addr && r.Connection.Src != x.at {
		return false
	}
	if row.Pod.Name != x.clientIs || row.Peer.Name != x.peer {
		t.Errorf("%s: %q was reset by %q, want %q by %q\n%s", x.name, row.Pod.Name, row.Peer.Name, x.clientIs, x.peer, l.Raw)
	}
	return true
}

// reads has the server read so many bytes of what the client sends, once all is there, and close.
func (x encounter) reads(t testing.TB, read int) {
	t.Helper()
	var l net.Listener
	x.server.Do(func() {
		var err error
		if l, err = net.Listen("tcp", x.at); err != nil {
			t.Fatal(err)
		}
	})
	defer lab.Close(l)
	x.client.Do(func() {
		c, err := net.DialTimeout("tcp", x.addr, 10*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		defer lab.Close(c)
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(make([]byte, whole))
		awaitAcknowledged(t, c)
		_, _ = io.ReadFull(s, make([]byte, read))
		lab.Close(s)
		_, _ = io.Copy(io.Discard, c) // ends with the reset, or as it should
	})
}

// check looks at what the lines, of ktrace and of its capture, say of an encounter.
func (x encounter) check(t testing.TB, lines []lab.Line) {
	t.Helper()
	for _, l := range lines {
		x.refuses(t, l)
		x.resets(t, l)
	}
	for _, l := range lab.Findings(lines) {
		x.finding(t, l)
	}
}

// finding looks at what a finding says of an encounter, if it is about that.
func (x encounter) finding(t testing.TB, l lab.Line) {
	var f struct {
		ID, Subject, Title, Confidence string
		Remedy                         []event.Remedy
		Hits                           []struct {
			Pod struct{ Name string }
			To  string
		}
	}
	l.Into(t, &f)
	name := func(pod, addr string) string {
		if pod == "" {
			return addr
		}
		return fmt.Sprintf("shop/%s (%s)", pod, addr)
	}
	if f.ID != "connection-refused" || f.Subject != x.at {
		return
	}
	if want := "nothing listens on " + name(x.peer, x.at) + "."; !strings.HasSuffix(f.Title, want) || f.Confidence != "certain" {
		t.Errorf("%s: %q, %s, want %q", x.name, f.Title, f.Confidence, want)
	}
	if x.clientIs != "" && !strings.HasPrefix(f.Title, "shop/"+x.clientIs+" (") || x.clientIs == "" && strings.HasPrefix(f.Title, "shop/") {
		t.Errorf("%s: %q, want shop/%s, or a process of the node, to be refused", x.name, f.Title, x.clientIs)
	}
	for _, h := range f.Hits {
		if h.Pod.Name != x.clientIs || h.To != x.at && h.To != x.addr {
			t.Errorf("%s: hits %+v", x.name, h)
		}
	}
	there := f.Remedy[0].Run
	if inPod := strings.HasPrefix(there, "kubectl"); inPod != (x.peer != "") || inPod && !strings.Contains(there, "exec "+x.peer+" ") {
		t.Errorf("%s: look there: %s", x.name, there)
	}
}

// forbidding is a firewall beyond the node that answers SYNs in the name of their destination, with the TTL of its other packets.
func forbidding(packet []byte) (bool, []byte) {
	return false, resetAnswer(packet)
}

// refusedBeyond are services whose backend is beyond the node: a firewall refuses in the name of one, and the other does so
// itself. From here the two look alike.
func refusedBeyond(f stack) []lab.Scenario {
	again := func(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
		for range 4 {
			fetch(p.NS, net.JoinHostPort(f.service(), "80"), patience)
			time.Sleep(patience) // that it goes on makes it more than a restart
		}
	}
	setup, broken := boxed(f, func() box { return box{forbidding, everything} })
	return []lab.Scenario{{
		Name: f.name + " a firewall refuses in the name of a backend", Args: []string{"reset"}, Traffic: again,
		Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			setup(t, c, p)
			f.kube(c.Node, "shop", "tcp", f.service(), net.JoinHostPort(f.far(), "80"))
		},
		Fault: broken, Want: "connection-refused", Sure: "likely",
		Proof: net.JoinHostPort(f.service(), "80") + " was translated to " + net.JoinHostPort(f.far(), "80"),
	}}
}

func TestResetDoesNotTakeAFirewallForTheServer(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, refusedBeyond(f)...)
	}
	lab.RunAll(t, all)
}
