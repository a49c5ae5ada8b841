// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// queueTest is a server beyond a box that does not accept, with a short queue if it is broken.
type queueTest struct {
	f     stack
	abort string // net.ipv4.tcp_abort_on_overflow there
	late  bool   // the queue fills while a client's acknowledgement is on its way
	far   each[*queueFar]
}

// queueFar is the far side of one network.
type queueFar struct {
	listener net.Listener
	backlog  int
	holds    atomic.Bool // the box loses what only acknowledges
}

func (q *queueTest) setup(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	far := &queueFar{backlog: 100}
	q.far.put(c, far)
	beyond := q.f.farSide(t, c, box{back: everything, forth: func(b []byte) (bool, []byte) {
		const v4, v6, flagsAt = 20, 40, 13
		return !far.holds.Load() || b[map[byte]int{4: v4, 6: v6}[b[0]>>4]+flagsAt] != packettest.ACK, nil
	}})
	beyond.Sysctl("net/ipv4/tcp_abort_on_overflow", q.abort)
	far.listener = listen(t, beyond, q.f.far())
}

func (q *queueTest) fault(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { q.far.get(c).backlog = 1 }

func (q *queueTest) traffic(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	const resent = 1500 * time.Millisecond // a SYN, and the answer to it
	far := q.far.get(c)
	setBacklog(t, far.listener, far.backlog)
	clients := 5
	p.Do(func() {
		connect := func() {
			if conn, err := net.DialTimeout("tcp", net.JoinHostPort(q.f.far(), webPort), 100*time.Millisecond); err == nil {
				t.Cleanup(func() { conn.Close() })
			}
		}
		if q.late {
			far.holds.Store(true)
			connect()
			far.holds.Store(false)
			clients = 2
		}
		for range clients {
			connect()
		}
	})
	time.Sleep(resent) // until TCP does: its clock, of a second, is what is waited for
}

// TestDiagnoseFindsFullAcceptQueues: whatever the family, whether the kernel drops what it has no room for or resets it,
// and whether that is a SYN or the client's acknowledgement.
func TestDiagnoseFindsFullAcceptQueues(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, x := range []struct {
			name, abort string
			late        bool
		}{{"SYNs are dropped", "0", false}, {"SYNs are dropped where others are reset", "1", false}, {"late, drops", "0", true}, {"late, resets", "1", true}} {
			q := &queueTest{f: f, abort: x.abort, late: x.late}
			all = append(all, lab.Scenario{
				Name: f.name + " " + x.name, Args: []string{"diagnose", "--duration", "4s"}, Want: "accept-queue-full", Sure: "certain",
				Setup: q.setup, Fault: q.fault, Traffic: q.traffic,
			})
		}
	}
	lab.RunAll(t, all)
}
