// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
)

// loser is a way beyond the node that loses packets, once it is set to.
type loser struct {
	f     stack
	forth float64 // share of what goes to the far side that is lost, and of what comes back
	back  float64
	does  each[*atomic.Bool]
}

func (m *loser) setup(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	does := &atomic.Bool{}
	m.does.put(c, does)
	loses := func(share float64, seed uint64) func([]byte) (bool, []byte) {
		r := rand.New(rand.NewPCG(1, seed))
		return func(b []byte) (bool, []byte) {
			p := packet.ParseIP(b)
			return p == nil || !does.Load() || p.HasFlag('S') || r.Float64() >= share, nil
		}
	}
	echoTCP(t, m.f.farSide(t, c, box{loses(m.forth, 2), loses(m.back, 3)}), "80")
}

func (m *loser) start(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { m.does.get(c).Store(true) }

// talks has a pod send messages to the far side over several connections at once, each after the answer to the one before, for a
// time.
func (f stack) talks(p *lab.Pod, connections int, long time.Duration) {
	until := time.Now().Add(long)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			p.Do(func() {
				c, err := net.DialTimeout("tcp", net.JoinHostPort(f.far(), "80"), unhurried)
				if err != nil {
					return
				}
				defer c.Close()
				_ = c.SetDeadline(until)
				message := make([]byte, 200)
				for time.Now().Before(until) {
					if _, err := c.Write(message); err != nil {
						return
					}
					if _, err := io.ReadFull(c, message); err != nil {
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
		})
	}
	all.Wait()
}

// TestDiagnoseNamesLossyWays: a good part of what is sent must be sent again, and nothing on this node says why.
func TestDiagnoseNamesLossyWays(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, c := range []struct {
			name string
			m    *loser
		}{
			{"what is sent is lost", &loser{forth: 0.3}},
			{"what comes back is lost", &loser{back: 0.3}},
		} {
			c.m.f = f
			all = append(all, lab.Scenario{
				Name: f.name + " " + c.name, Args: []string{"diagnose", "--duration", "4s"}, Want: "tcp-loss", Sure: "likely", Proof: "segments were sent again",
				Setup: c.m.setup, Fault: c.m.start,
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.talks(p, 8, 3*time.Second) },
			})
		}
	}
	lab.RunAll(t, all)
}

// reader is a server that reads what it gets, with short pauses, or not at all once it is set to.
type reader struct {
	f     stack
	stops each[*atomic.Bool]
}

func (m *reader) setup(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	stops := &atomic.Bool{}
	m.stops.put(c, stops)
	m.f.farSide(t, c, box{everything, everything}).Do(func() {
		l, err := net.Listen("tcp", "[::]:80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { conn.Close() })
				go m.read(conn, stops)
			}
		}()
	})
}

func (m *reader) read(c net.Conn, stops *atomic.Bool) {
	buf := make([]byte, 64<<10)
	for !stops.Load() {
		if _, err := c.Read(buf); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (m *reader) stop(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { m.stops.get(c).Store(true) }

// fills has a pod send until nothing more is taken for the time.
func (f stack) fills(p *lab.Pod, long time.Duration) {
	p.Do(func() {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(f.far(), "80"), unhurried)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(long))
		_, _ = c.Write(make([]byte, 8<<20))
	})
}

// stalls is a receiver whose process does not read.
func (f stack) stalls(args ...string) lab.Scenario {
	m := &reader{f: f}
	return lab.Scenario{
		Name: f.name + " " + args[0], Args: args, Want: "receiver-stalled", Sure: "certain", Title: "does not read what",
		Setup: m.setup, Fault: m.stop, Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { f.fills(p, 4*time.Second) },
	}
}

// TestDiagnoseNamesAReceiverThatStalls: its process does not read. A slow one is no fault. The view of connections says the same.
func TestDiagnoseNamesAReceiverThatStalls(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, f.stalls("diagnose", "--duration", "4s"), f.stalls("flows"))
	}
	lab.RunAll(t, all)
}

// forgetter is a NAT beyond the node that forgets idle connections, or a way that takes nothing more to its host, once it is set to.
type forgetter struct {
	f     stack
	all   bool
	again bool // a client connects anew
	does  each[*atomic.Bool]
}

const (
	natTimeout = 2 * time.Second
	idlePause  = 3500 * time.Millisecond
)

func (m *forgetter) setup(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	does := &atomic.Bool{}
	m.does.put(c, does)
	var mutex sync.Mutex
	seen, gone := map[packet.FlowKey]time.Time{}, false
	pass := func(b []byte) (bool, []byte) {
		p := packet.ParseIP(b)
		if p == nil || p.Proto != "tcp" {
			return true, nil
		}
		mutex.Lock()
		defer mutex.Unlock()
		key := p.Flow().Key("tcp", 0)
		last, known := seen[key]
		idle := known && time.Since(last) > natTimeout
		gone = gone || idle && m.all
		if does.Load() && (idle || gone) {
			return false, nil
		}
		seen[key] = time.Now()
		return true, nil
	}
	echoTCP(t, m.f.farSide(t, c, box{pass, pass}), "80")
}

func (m *forgetter) start(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { m.does.get(c).Store(true) }

// pauses has a pod use a connection again after a pause, and if nothing comes back, another.
func (m *forgetter) pauses(p *lab.Pod) {
	p.Do(func() {
		addr, message := net.JoinHostPort(m.f.far(), "80"), make([]byte, 100)
		c, err := net.DialTimeout("tcp", addr, unhurried)
		if err != nil {
			return
		}
		defer c.Close()
		exchange := func(c net.Conn, patience time.Duration) bool {
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = c.Write(message)
			_, err := io.ReadFull(c, message)
			return err == nil
		}
		exchange(c, unhurried)
		time.Sleep(idlePause)
		exchange(c, time.Second)
		if other, err := net.DialTimeout("tcp", addr, time.Second); m.again && err == nil {
			exchange(other, unhurried)
			other.Close()
		}
		if !exchange(c, time.Second) {
			awaitTimeouts(c.(*net.TCPConn), 4)
		}
	})
}

// awaitTimeouts waits until data was sent again so often in a row: the RTO, which doubles, is longer on a busy machine.
func awaitTimeouts(c *net.TCPConn, n uint8) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for began := time.Now(); time.Since(began) < unhurried; time.Sleep(20 * time.Millisecond) {
		reached := false
		failed := raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			reached = err != nil || info.Retransmits >= n
		})
		if failed != nil || reached {
			return
		}
	}
}

// TestDiagnoseNamesForgottenConnections: after a pause nothing comes back, while new connections work; where those do not, the
// host is gone.
func TestDiagnoseNamesForgottenConnections(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, c := range []struct {
			name, want, proof string
			m                 *forgetter
		}{
			{"forgotten", "idle-timeout", "accepted or used other connections meanwhile", &forgetter{again: true}},
			{"a host that is gone", "tcp-loss", "retransmission timeouts", &forgetter{all: true}},
		} {
			c.m.f = f
			all = append(all, lab.Scenario{
				Name: f.name + " " + c.name, Args: []string{"diagnose", "--duration", "8s"}, Want: c.want, Sure: "likely", Proof: c.proof,
				Setup: c.m.setup, Fault: c.m.start, Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { c.m.pauses(p) },
			})
		}
	}
	lab.RunAll(t, all)
}

// TestTheBooksOfConnectionsAddUp: those that the kernel half followed, of which the open ones are counted by themselves.
func TestTheBooksOfConnectionsAddUp(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	echoTCP(t, c.Server, "80")
	const old, short, open = 5, 20, 7
	dial := func(n int) (all []net.Conn) {
		p.Do(func() {
			for range n {
				conn, err := net.DialTimeout("tcp", net.JoinHostPort(lab.ServerAddr, "80"), unhurried)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				all = append(all, conn)
			}
		})
		return all
	}
	dial(old)
	run := lab.Ktrace(t, "diagnose", "--duration", "60s", "--netns", p.Path())
	for _, conn := range dial(short) {
		conn.Close()
	}
	dial(open)
	var summary struct {
		Flows struct{ Books event.FlowBooks }
	}
	lines := run.Stop()
	lines[len(lines)-1].Into(t, &summary)
	b := summary.Flows.Books
	const ends = 2 // are on this machine, of each
	if !b.Balanced() || b.Begun < ends*(short+open) || b.Found < ends*old || b.Open < ends*(old+open) || b.Ended < ends*(short-1) || b.Evicted > 0 {
		t.Errorf("the books are %+v", b)
	}
}
