// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// Two clients of a way that swallows, one a while after the other, try for long enough: four of TCP's timeouts take 3 s.
const (
	stuck = 4 * time.Second
	later = 700 * time.Millisecond
)

// uploads send much from the pod to the far side and read it back, one begun after the other; they do not mind if that
// hangs.
func (f stack) uploads(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
	var all sync.WaitGroup
	for i := range 2 {
		all.Add(1)
		time.AfterFunc(time.Duration(i)*later, func() {
			defer all.Done()
			f.upload(p)
		})
	}
	all.Wait()
}

func (f stack) upload(p *lab.Pod) {
	p.Do(func() {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(f.far(), "80"), stuck)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(stuck))
		sent := make([]byte, 20_000)
		if _, err := c.Write(sent); err == nil {
			_, _ = io.ReadFull(c, sent)
		}
	})
}

// boxed sets up a far side whose box is narrow and says so, until it is broken.
func boxed(f stack, fault func() box) (setup, broken step) {
	var boxes each[*box]
	setup = func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
		b := &box{forth: narrow(1400, true), back: narrow(1400, true)}
		boxes.put(c, b)
		far := f.farSide(t, c, box{
			forth: func(p []byte) (bool, []byte) { return boxes.get(c).forth(p) },
			back:  func(p []byte) (bool, []byte) { return boxes.get(c).back(p) },
		})
		echoTCP(t, far, "80")
	}
	return setup, func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
		b := fault()
		boxes.put(c, &b)
	}
}

// holes are narrow ways beyond the node. Their healthy twins are as narrow, and say so.
func holes(f stack) []lab.Scenario {
	forth, forthBroken := boxed(f, func() box { return box{narrow(1400, false), everything} })
	back, backBroken := boxed(f, func() box { return box{everything, narrow(1400, false)} })
	garbled, garbledBroken := boxed(f, func() box { return box{garbling(narrow(1400, true)), everything} })
	filtered, _ := boxed(f, nil)
	return []lab.Scenario{
		{Name: "what the pod sends vanishes", Setup: forth, Fault: forthBroken, Traffic: f.uploads,
			Want: "pmtu-blackhole", Sure: "likely", Proof: "does not pass: 1500 bytes"},
		{Name: "what the pod is sent vanishes", Setup: back, Fault: backBroken, Traffic: f.uploads,
			Want: "pmtu-blackhole", Sure: "likely", Proof: "does not pass: 1500 bytes"},
		{Name: "the ICMP error quotes no connection of the pod", Setup: garbled, Fault: garbledBroken, Traffic: f.uploads,
			Want: "pmtu-icmp-ignored", Sure: "likely", Proof: "(MTU 1400)"},
		{Name: "this node filters the ICMP error to the pod", Setup: filtered, Traffic: f.uploads, // the deeper cause
			Fault: onNode(f.iptables, "-A", "FORWARD", "-p", f.icmp(), "-j", "DROP"),
			Want:  "netfilter-drop", Sure: "certain", Proof: "the ICMP error: MTU 1400 at"},
		{Name: "this node drops it without a word", Setup: forth, Traffic: f.uploads, // the deeper cause
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) { c.Node.IP("link set " + p.Veth + " mtu 1300") },
			Want:  "mtu-exceeded", Sure: "certain", Proof: "limit 1300"},
	}
}

// icmp is the protocol of the family, as iptables calls it.
func (f stack) icmp() string {
	if f.ip == "ip" {
		return "icmp"
	}
	return "ipv6-icmp"
}

// garbling changes the sequence number that ICMP errors quote, so that they are about nothing that was sent.
func garbling(pass func([]byte) (bool, []byte)) func([]byte) (bool, []byte) {
	return func(p []byte) (bool, []byte) {
		ok, answer := pass(p)
		if answer == nil {
			return ok, nil
		}
		sequence := 20 + 4 // behind the header that is quoted
		if p[0]>>4 == 6 {
			sequence = 40 + 4
		}
		binary.BigEndian.PutUint32(p[sequence:], binary.BigEndian.Uint32(p[sequence:])-1<<30)
		_, answer = pass(p)
		return ok, answer
	}
}

func TestMTUFindsHoles(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, s := range holes(f) {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"mtu"}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestReadFindsHolesInATcpdumpCapture: there are only packets, and no word of the sender's.
func TestReadFindsHolesInATcpdumpCapture(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		for i, broken := range []bool{true, false} {
			t.Run(fmt.Sprint(f.name, " ", broken), func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				p := c.AddPod("pod")
				s := holes(f)[i]
				s.Setup(t, c, p)
				if broken {
					s.Fault(t, c, p)
				}
				file := filepath.Join(t.TempDir(), "x.pcap")
				stop := dump(t, p.NS, "-i", "eth0", "-w", file, "tcp or icmp or icmp6")
				s.Traffic(t, c, p)
				stop()
				found := ktraceRead(t, file, "mtu", "-o", "json")
				if got := strings.Contains(found, `"id":"pmtu-blackhole"`); got != broken || broken == (strings.Count(found, `"type":"finding"`) != 1) {
					t.Errorf("found a hole: %v, want %v\n%s", got, broken, found)
				}
			})
		}
	}
}

// dump runs tcpdump until the function that it returns is called.
func dump(t testing.TB, ns *lab.NS, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns.Name, "tcpdump", "-U", "--immediate-mode"}, args...)...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); lines.Scan() && !strings.Contains(lines.Text(), "listening"); {
	}
	return func() {
		go io.Copy(io.Discard, said) // what it says at its end
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMTUTakesNoOtherTroubleForAHole: loss, and a peer that is there no more or takes nothing, look alike at first.
func TestMTUTakesNoOtherTroubleForAHole(t *testing.T) {
	t.Parallel()
	families := stacks()
	if testing.Short() {
		families = families[:1]
	}
	for _, f := range families {
		for name, trouble := range map[string]func(t testing.TB, c *lab.Cluster, p *lab.Pod){
			"loss":                          f.lossy,
			"a dead end":                    f.deadEnd,
			"a receiver that does not read": f.unread,
			"an accept queue that is full":  f.unaccepted,
		} {
			t.Run(f.name+" "+name, func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				p := c.AddPod("pod")
				run := lab.Ktrace(t, "mtu", "--netns", p.Path())
				trouble(t, c, p)
				for _, l := range lab.Findings(run.Stop()) {
					t.Errorf("claims %s", l.Raw)
				}
			})
		}
	}
}

// lossy is a way that loses every fifth packet.
func (f stack) lossy(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	lose := func() func([]byte) (bool, []byte) {
		r := rand.New(rand.NewPCG(1, 2))
		return func([]byte) (bool, []byte) { return r.IntN(5) != 0, nil }
	}
	echoTCP(t, f.farSide(t, c, box{lose(), lose()}), "80")
	f.uploads(t, c, p)
}

// deadEnd is a way that ends in the middle of a transfer.
func (f stack) deadEnd(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	left := 8
	echoTCP(t, f.farSide(t, c, box{func([]byte) (bool, []byte) { left--; return left >= 0, nil }, everything}), "80")
	f.uploads(t, c, p)
}

// unread is a server that takes connections and reads nothing.
func (f stack) unread(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	far := f.farSide(t, c, box{everything, everything})
	var l net.Listener
	far.Do(func() {
		var err error
		if l, err = net.Listen("tcp", "[::]:80"); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { l.Close() })
	p.Do(func() {
		conn, err := net.Dial("tcp", net.JoinHostPort(f.far(), "80"))
		for until := time.Now().Add(unhurried); errors.Is(err, syscall.ENETUNREACH) && time.Now().Before(until); {
			time.Sleep(10 * time.Millisecond) // the devices were made a moment ago, and the kernel brings them up by and by
			conn, err = net.Dial("tcp", net.JoinHostPort(f.far(), "80"))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(stuck))
		_, _ = conn.Write(slices.Repeat([]byte("x"), 32<<20))
	})
}

// unaccepted is a server that takes no connections: those for which its queue has no room are made, as clients see it,
// and all that they send is thrown away.
func (f stack) unaccepted(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	far := f.farSide(t, c, box{everything, everything})
	far.Do(func() {
		l, err := net.Listen("tcp", "[::]:80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		setBacklog(t, l, 1)
	})
	var all sync.WaitGroup
	for i := range 6 {
		all.Add(1)
		time.AfterFunc(time.Duration(i)*later, func() {
			defer all.Done()
			f.upload(p)
		})
	}
	all.Wait()
}
