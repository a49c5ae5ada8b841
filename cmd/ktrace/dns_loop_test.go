// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// forwardDNS serves a pod's DNS by asking whom its resolv.conf names; it gives up soon, and asks for few at a time.
func forwardDNS(t testing.TB, p *lab.Pod) {
	t.Helper()
	const wait, most = 300 * time.Millisecond, 60
	busy := make(chan struct{}, most)
	one := func(conn net.PacketConn, from net.Addr, query []byte) {
		defer func() { <-busy }()
		conf, err := os.ReadFile(filepath.Join("/etc/netns", p.Name, "resolv.conf"))
		if err != nil {
			return // the test ends
		}
		p.Do(func() {
			up, err := net.Dial("udp", net.JoinHostPort(strings.TrimSpace(strings.TrimPrefix(string(conf), "nameserver ")), "53"))
			if err != nil {
				t.Error(err)
				return
			}
			defer up.Close()
			_ = up.SetDeadline(time.Now().Add(wait))
			answer := make([]byte, 4096)
			if _, err := up.Write(query); err != nil {
				return
			}
			if n, err := up.Read(answer); err == nil {
				_, _ = conn.WriteTo(answer[:n], from)
			}
		})
	}
	p.ServeUDP("[::]:53", func(at net.PacketConn, from net.Addr, query []byte) {
		query = slices.Clone(query) // the next comes meanwhile
		select {
		case busy <- struct{}{}:
			go one(at, from, query)
		default:
		}
	})
}

// TestDiagnoseFindsAServerThatAsksItself: and a resolver that asks another is none.
func TestDiagnoseFindsAServerThatAsksItself(t *testing.T) {
	t.Parallel()
	const unanswered = 4 * time.Second // and the second that it asks for: from then on a query has no answer
	var all []lab.Scenario
	for _, f := range stacks() {
		itself := map[string]string{"ip": "127.0.0.1", "ip -6": "::1"}[f.ip]
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"diagnose", "--duration", "3s"}, Want: "dns-bad-resolv-conf", Sure: "certain", Proof: "it asked itself",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				p.ResolvConf("nameserver " + f.server + "\n")
				serveDNS(t, c.Server, net.JoinHostPort(f.server, "53"), wellServed)
				forwardDNS(t, p)
				p.Run("ping", "-c1", "-W20", f.server)
			},
			Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { p.ResolvConf("nameserver " + itself + "\n") },
			Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				asksOnce(t, c.Server, "udp", f.addr(p), 7, "web.example")
				time.Sleep(unanswered) // of the client, as resolvers do
			},
		})
	}
	lab.RunAll(t, all)
}
