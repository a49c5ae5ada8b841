// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// TestAServerWithoutARouteBackIsNamed: the query arrives and is answered, and the answer has no way out of the server's namespace.
// That is the cause, and not that the server is silent.
func TestAServerWithoutARouteBackIsNamed(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		lost := func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { f.do(c.Server, "route del "+f.pods()) }
		for _, s := range []lab.Scenario{
			{Name: "DNS", Setup: answersUDP("53"), Fault: lost,
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.server, "web.example.org") }},
			{Name: "UDP", Setup: answersUDP("9999"), Fault: lost,
				Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { asksUDP(t, p.NS, net.JoinHostPort(f.server, "9999")) }},
		} {
			s.Name, s.Args, s.Want, s.Sure, s.Title = f.name+" "+s.Name, []string{"diagnose", "--duration", "4s"}, "no-route", "certain", "has no route back"
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// pods are the pods' addresses.
func (f stack) pods() string {
	return map[string]string{"ip": "10.128.0.0/9", "ip -6": "fd00:244::/32"}[f.ip]
}

// answersUDP has the server answer at a port, by a socket that has no address of its own: to a query for a name, or with what it got.
// As a server's, its thread is in the namespace.
func answersUDP(port string) step {
	return func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
		at := make(chan net.PacketConn)
		go c.Server.Do(func() {
			conn, err := net.ListenPacket("udp", "[::]:"+port)
			if at <- conn; err != nil {
				return
			}
			data := make([]byte, 4096)
			for {
				n, from, err := conn.ReadFrom(data)
				if err != nil {
					return
				}
				answer := data[:n]
				if port == "53" {
					answer = replyDNS(t, answer, wellServed)
				}
				_, _ = conn.WriteTo(answer, from)
			}
		})
		conn := <-at
		if conn == nil {
			t.Fatalf("port %s is taken", port)
		}
		t.Cleanup(func() { conn.Close() })
	}
}

// asksUDP sends datagrams to a server and waits for the answer to each, for a moment.
func asksUDP(t testing.TB, ns *lab.NS, server string) {
	t.Helper()
	ns.Do(func() {
		conn, err := net.Dial("udp", server)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 3 {
			_, _ = conn.Write([]byte("question"))
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			_, _ = conn.Read(make([]byte, 16))
		}
	})
}
