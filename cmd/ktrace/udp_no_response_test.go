// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"

	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
)

// asksFar sends datagrams from one socket of the pod to a port of the far side, each after it has waited for the answer to the
// one before.
func (f stack) asksFar(t testing.TB, p *lab.Pod, port string, wait time.Duration, datagrams ...[]byte) {
	p.Do(func() {
		c, err := net.Dial("udp", net.JoinHostPort(f.far(), port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 2048)
		for _, d := range datagrams {
			if _, err := c.Write(d); err != nil {
				continue // the error about the one before, or it is larger than the path MTU that is known now
			}
			_ = c.SetReadDeadline(time.Now().Add(wait))
			_, _ = c.Read(buf)
		}
	})
}

// bytesOf are so many datagrams of a size.
func bytesOf(n, size int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = bytes.Repeat([]byte("?"), size)
	}
	return all
}

// takesUDP takes the datagrams whose content begins with what is given.
func takesUDP(begins string) func(*packet.Packet) bool {
	return func(p *packet.Packet) bool { return p.Proto == "udp" && bytes.HasPrefix(p.Transport(), []byte(begins)) }
}

// TestDiagnoseNamesDatagramsWithoutAnAnswer: a firewall beyond the node, or a link there, takes them without a word.
func TestDiagnoseNamesDatagramsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	const wait = 500 * time.Millisecond
	var all []lab.Scenario
	for _, f := range stacks() {
		ask := func(datagrams ...[]byte) step {
			return func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { f.asksFar(t, p, "9", wait, datagrams...) }
		}
		again, some := &silencer{f: f, forth: takesUDP("?")}, &silencer{f: f, forth: takesUDP("??")}
		narrowed, hole := boxedUDP(f)
		all = append(all,
			lab.Scenario{Name: f.name + " asks again", Want: "udp-no-response", Sure: "likely", Title: "does not answer datagrams", Proof: "last seen",
				Setup: again.setup, Fault: again.start, Traffic: ask(bytesOf(5, 30)...)},
			lab.Scenario{Name: f.name + " others are answered", Want: "udp-no-response", Sure: "likely", Title: "does not answer some datagrams", Proof: "answered: 1",
				Setup: some.setup, Fault: some.start, Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
					ask([]byte("?"))(t, c, p)
					ask(bytesOf(2, 30)...)(t, c, p)
				}},
			lab.Scenario{Name: f.name + " into a black hole", Want: "pmtu-blackhole", Sure: "likely", Title: "Datagrams of ", Proof: "no answer: to 4 datagrams",
				Setup: narrowed, Fault: hole, Traffic: ask(append(append(bytesOf(1, 30), bytesOf(4, 1440)...), bytesOf(2, 30)...)...)},
		)
	}
	for i := range all {
		all[i].Args = []string{"diagnose", "--duration", "4s"}
	}
	lab.RunAll(t, all)
}

// boxedUDP is a narrow path beyond the node that answers by ICMP errors, until it is broken.
func boxedUDP(f stack) (setup, broken step) {
	var boxes each[*box]
	setup = func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
		boxes.put(c, &box{forth: narrow(1400, true)})
		echoUDP(t, f.farSide(t, c, box{forth: func(p []byte) (bool, []byte) { return boxes.get(c).forth(p) }, back: everything}), "9")
	}
	return setup, func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { boxes.put(c, &box{forth: narrow(1400, false)}) }
}

// TestDatagramsThatWantNoAnswerAreNoFailure: reports to an address without a host, and what clients have another way for.
func TestDatagramsThatWantNoAnswerAreNoFailure(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			f.farSide(t, c, box{func([]byte) (bool, []byte) { return false, nil }, everything})
			run := lab.Ktrace(t, "diagnose", "--duration", "4s", "--netns", p.Path())
			var senders sync.WaitGroup
			for port, data := range map[string]string{
				"514": "<14>app: it has begun", "8125": "requests:1|c", "9125": "web.time:12|ms", "123": "\x23" + string(make([]byte, 47)),
				"443": "\xc3\x00\x00\x00\x01\x08" + string(make([]byte, 1200)), "4739": "\x00\x0a",
			} {
				senders.Add(1)
				go func() {
					defer senders.Done()
					f.asksFar(t, p, port, 400*time.Millisecond, []byte(data), []byte(data), []byte(data), []byte(data), []byte(data))
				}()
			}
			senders.Wait()
			for _, l := range lab.Findings(run.Stop()) {
				var x struct{ Severity string }
				if l.Into(t, &x); x.Severity != "info" {
					t.Errorf("claims %s", l.Raw)
				}
			}
		})
	}
}
