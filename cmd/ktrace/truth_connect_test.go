// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// The ports of the server in the model of connections, each with the one fate that connections to it have.
const (
	fateServed   = "80" // answers and closes
	fateRefused  = "81"
	fateFiltered = "82" // a rule of the node drops what is sent there
	fateReset    = "83" // accepts, and its process resets
)

// fates are what may be claimed of connections to a port: what has another id is no cause there.
func fates() map[string][]string {
	return map[string][]string{
		fateServed:   nil,
		fateRefused:  {"connection-refused"},
		fateFiltered: {"netfilter-drop"},
		fateReset:    {"reset-by-application"},
	}
}

// serveFates has a server do to connections what the model says.
func serveFates(t *testing.T, c *lab.Cluster) {
	t.Helper()
	echoTCP(t, c.Server, fateServed)
	c.Node.Run("nft", "add table inet lab; add chain inet lab f { type filter hook forward priority 0; }; add rule inet lab f tcp dport "+fateFiltered+" drop")
	c.Server.Do(func() {
		l, err := net.Listen("tcp", ":"+fateReset)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		go parting(l, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		})
	})
}

// connects connects to ports of a server by turns, with so many at a time, for a while, and says what became of those that are answered.
func connects(t *testing.T, p *lab.Pod, server string, ports []string, atATime int, during time.Duration) {
	var all sync.WaitGroup
	end := time.Now().Add(during)
	for i := range atATime {
		all.Go(func() {
			for n := i; time.Now().Before(end); n++ {
				port := ports[n%len(ports)]
				d := net.Dialer{Timeout: 20 * time.Millisecond}
				if port == fateServed {
					d.Timeout = unhurried
				}
				var conn net.Conn
				var err error
				p.Do(func() { conn, err = d.Dial("tcp", net.JoinHostPort(server, port)) })
				if err != nil {
					if port == fateServed {
						t.Errorf("%s: %v", port, err)
					}
					continue
				}
				_, _ = conn.Write([]byte("x"))
				_ = conn.(*net.TCPConn).CloseWrite()
				if _, err := io.Copy(io.Discard, conn); err != nil && port == fateServed {
					t.Error(err)
				}
				conn.Close()
			}
		})
	}
	all.Wait()
}

// TestNothingIsConcludedFromLossOfConnections is TestNothingIsConcludedFromLoss for connections: what is claimed for sure of a port is its
// connections' fate, and of the pod whose connections all work nothing is.
func TestNothingIsConcludedFromLossOfConnections(t *testing.T) {
	t.Parallel()
	for i, u := range []underLoss{
		{name: "a ring of one page", args: []string{"--ring-bytes", "4096"}},
		{name: "stopped", args: []string{"--ring-bytes", "65536"}, meanwhile: stopped(time.Second)},
	} {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			network := networkOfConnects + i
			c := lab.NewClusterAt(t, network)
			server, _ := lab.ServerAt(network)
			serveFates(t, c)
			loud, calm := c.AddPod("loud"), c.AddPod("calm")
			run := lab.Ktrace(t, append([]string{"diagnose", "host " + server}, u.args...)...)
			var all sync.WaitGroup
			all.Go(func() {
				connects(t, loud, server, []string{fateServed, fateRefused, fateFiltered, fateReset}, 8, 2*time.Second)
			})
			all.Go(func() { connects(t, calm, server, []string{fateServed}, 1, 2*time.Second) })
			if u.meanwhile != nil {
				u.meanwhile(t, run)
			}
			all.Wait()
			lines := run.Stop()
			if said := run.Stderr(); !strings.Contains(said, "records were lost") {
				t.Errorf("nothing was lost: %q", said)
			}
			sure := 0
			for _, l := range lab.Findings(lines) {
				var f struct {
					ID, Confidence, Severity string
					Hits                     []struct{ From, To string }
				}
				l.Into(t, &f)
				if f.Confidence == "possible" && f.Severity == "info" {
					continue
				}
				sure++
				for _, h := range f.Hits {
					_, port, _ := net.SplitHostPort(h.To)
					if may, modelled := fates()[port]; h.From == calm.Addr || modelled && !slices.Contains(may, f.ID) {
						t.Errorf("claims what the model denies of %s > %s: %s", h.From, h.To, l.Raw)
					}
				}
			}
			t.Logf("%d findings are sure", sure)
		})
	}
}
