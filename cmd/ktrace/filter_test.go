// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// troubled is a node with a fault for every verb, that two pods meet: port 81 is dropped in silence, so is the backend's
// of a service, UDP to port 90 is rejected by ICMP, and nobody listens on port 84.
func (f stack) troubled(t testing.TB, c *lab.Cluster) {
	f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.server, "83"))
	for _, rule := range []string{"-p tcp --dport 81 -j DROP", "-p tcp --dport 83 -j DROP", "-p udp --dport 90 -j REJECT"} {
		c.Node.Run(append([]string{f.iptables, "-A", "FORWARD"}, strings.Fields(rule)...)...)
	}
	echoTCP(t, c.Server, "80")
}

// meet sends a pod's traffic. Datagrams of pods differ in length: of two of one length, without identification and one
// after the other in the same buffer, the kernel half cannot know that they are two.
func (f stack) meet(t testing.TB, p *lab.Pod, datagram string) {
	t.Helper()
	for _, port := range []string{"80", "81", "84"} {
		fetch(p.NS, net.JoinHostPort(f.server, port), patience)
	}
	fetch(p.NS, net.JoinHostPort(f.service(), "80"), patience)
	p.Do(func() {
		conn, err := net.Dial("udp", net.JoinHostPort(f.server, "90"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	})
}

// filtered is one expression on one verb; in it A and B stand for the pods' addresses and S for the service's.
type filtered struct {
	verb, expr string
	finding    string // that must be there
	others     bool   // the other pod's are there too
	nameless   bool   // what is said has no pod's address
	v4         bool   // for IPv4 only: IPv6 has no other way through the code
}

func filteredVerbs() []filtered {
	return []filtered{
		{verb: "drop", expr: "tcp port 81 and host A", finding: "netfilter-drop", v4: true},
		{verb: "drop", expr: "src host A and dst host S", finding: "netfilter-drop"}, // as it was before translation
		{verb: "drop", expr: "host A and tcp dst port 83", finding: "netfilter-drop", v4: true},
		{verb: "drop", expr: "tcp dst port 83 and (host A or host B)", finding: "netfilter-drop", others: true, v4: true},
		{verb: "drop", expr: "udp port 90 and host A", finding: "netfilter-reject"}, // which the ICMP error about it quotes
		{verb: "drop", expr: "host A and udp[8] = 0x78", finding: "netfilter-reject", v4: true},
		{verb: "drop", expr: tooComplex + " and host A", finding: "netfilter-drop", v4: true},
		{verb: "reset", expr: "host A", finding: "connection-refused"},
		{verb: "reset", expr: "tcp port 84 and src host A", finding: "connection-refused", v4: true},
		{verb: "nat", expr: "host A", finding: "netfilter-drop", nameless: true, v4: true},
		{verb: "diagnose", expr: "host A and not port 81", finding: "connection-refused", v4: true},
	}
}

// tooComplex is an expression that is true of IPv4, but makes more of the stack than there is.
const tooComplex = "ip[0]*(ip[0]*(ip[0]*(ip[0]*(ip[0]*(ip[0]*ip[0]))))) != 1"

// TestAFilterMeansTheSameLiveAndOffline runs every verb with an expression beside one without. What the first says is
// what both captures say with the expression, and only of those whom it is about.
func TestAFilterMeansTheSameLiveAndOffline(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		for _, tt := range filteredVerbs() {
			if f.ip != "ip" && tt.v4 {
				continue
			}
			t.Run(fmt.Sprintf("%s %s %s", f.name, tt.verb, tt.expr), func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				a, b := c.AddPod("a"), c.AddPod("b")
				f.troubled(t, c)
				expr := strings.NewReplacer("A", f.of(a), "B", f.of(b), "S", f.service()).Replace(tt.expr)
				some, all := filepath.Join(t.TempDir(), "some.pcapng"), filepath.Join(t.TempDir(), "all.pcapng")
				selective := lab.Ktrace(t, tt.verb, "-w", some, expr)
				whole := lab.Ktrace(t, tt.verb, "-w", all)
				f.meet(t, a, "x")
				f.meet(t, b, "xx")
				if tt.verb != "diagnose" { // which reports at its end
					selective.AwaitFinding(tt.finding)
				}
				live, _ := selective.Stop(), whole.Stop()
				if said := selective.Stderr(); strings.Contains(said, "user space filters") != strings.HasPrefix(tt.expr, tooComplex) {
					t.Errorf("said %q", said)
				}
				want := concluded(t, live)
				for _, file := range []string{some, all} {
					if got := concluded(t, readWith(t, file, tt.verb, expr)); !slices.Equal(got, want) {
						t.Errorf("%s says\n%s\nlive it was\n%s", filepath.Base(file), strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
				}
				about := strings.Join(want, "\n")
				if !strings.Contains(about, tt.finding) || strings.Contains(about, f.of(a)) == tt.nameless || strings.Contains(about, f.of(b)) != tt.others {
					t.Errorf("concluded\n%s", about)
				}
			})
		}
	}
}

// of is the pod's address of the family.
func (f stack) of(p *lab.Pod) string {
	if f.ip == "ip" {
		return p.Addr
	}
	return p.Addr6
}

func readWith(t *testing.T, args ...string) []lab.Line {
	t.Helper()
	lines, status, said := lab.Read(t, args...)
	if status != 0 && status != 3 {
		t.Fatalf("status %d\n%s", status, said)
	}
	return lines
}

// concluded is all that was shown and concluded, without what differs between two that watch the same: when they saw
// it, the numbers of journeys, and what a rule had counted when they asked.
func concluded(t *testing.T, lines []lab.Line) []string {
	t.Helper()
	var said []string
	for _, l := range lines {
		var fields map[string]json.RawMessage
		l.Into(t, &fields)
		switch l.Type {
		case "event":
			var body struct{ Reason, State, Conntrack json.RawMessage }
			if err := json.Unmarshal(fields[l.Kind], &body); err != nil {
				t.Fatal(err)
			}
			said = append(said, fmt.Sprintf("%s %s %s", l.Kind, fields["packet"], body))
		case "finding":
			if l.ID == "accept-queue-full" { // of a listener of whatever test runs beside: whom it keeps waiting is not known
				continue
			}
			said = append(said, fmt.Sprintf("%s %s %s count %s", l.ID, fields["severity"], fields["title"], fields["count"]))
		}
	}
	slices.Sort(said)
	return said
}

func TestAFilterThatCannotBeIsRefusedWhereItIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string // of what is said
	}{
		{[]string{"drop", "tcp port 80 and ether host 02:00:00:00:00:01"}, "column 28: packets without link header have no MAC addresses"},
		{[]string{"reset", "vlan 5 and tcp"}, "column 1: packets without link header have no VLAN tags"},
		{[]string{"nat", "ether[0] = 1"}, "column 1: packets without link header have no link header to read"},
		{[]string{"dns", "host", "kubernetes"}, "column 6: \"kubernetes\" is a name"},
		{[]string{"mtu", "port"}, "column 5: "},
		{[]string{"diagnose", "arp"}, "column 1: rejects every packet that is seen here"},
	} {
		run := lab.StartKtrace(t, tt.args...)
		_, status := run.Wait()
		if said := run.Stderr(); status != 2 || !strings.Contains(said, tt.want) || !strings.Contains(said, "^") {
			t.Errorf("%q: status %d\n%s", tt.args, status, said)
		}
	}
}
