// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"ktrace/decoder/packet"
	"ktrace/testdata/lab"
)

// overlay joins the pod's namespace and the far side, which stand for two nodes, by a tunnel whose ends know each other
// as Flannel's do, through a box that may swallow it.
type overlay struct {
	f       stack
	answer  func([]byte) []byte        // of the box to what it swallows; nil: none
	spoil   func(*lab.Cluster, []byte) // what the box does to the tunnel's packets that it passes on; nil: nothing
	blocked each[*atomic.Bool]
}

func (o *overlay) setup(t testing.TB, c *lab.Cluster, p *lab.Pod) {
	const far = "02:00:00:00:00:03"
	f, blocked := o.f, &atomic.Bool{}
	o.blocked.put(c, blocked)
	beyond := f.farSide(t, c, box{back: everything, forth: func(b []byte) (bool, []byte) {
		switch {
		case !blocked.Load() || !tunnelled(b):
			if o.spoil != nil && tunnelled(b) {
				o.spoil(c, b)
			}
			return true, nil
		case o.answer == nil:
			return false, nil
		}
		return false, o.answer(b)
	}})
	local := map[string]string{"ip": p.Addr, "ip -6": p.Addr6}[f.ip]
	prefix := map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]
	p.IP("link add vx0 type vxlan id 42 local " + local + " remote " + f.far() + " dstport 8472")
	beyond.IP("link add vx0 address " + far + " type vxlan id 42 local " + f.far() + " remote " + local + " dstport 8472")
	f.do(p.NS, "addr add "+f.sub(p, "2")+prefix+" dev vx0 nodad", "link set vx0 up")
	f.do(beyond, "addr add "+f.sub(p, "3")+prefix+" dev vx0 nodad", "addr add "+f.sub(p, "4")+prefix+" dev vx0 nodad", "link set vx0 up")
	for _, last := range []string{"3", "4"} {
		f.do(p.NS, "neigh replace "+f.sub(p, last)+" lladdr "+far+" dev vx0")
	}
}

// tunnelled reports whether an IP packet is for the port of the tunnel.
func tunnelled(b []byte) bool {
	at := 20
	if b[0]>>4 == 6 {
		at = 40
	}
	return len(b) >= at+4 && binary.BigEndian.Uint16(b[at+2:]) == packet.PortVXLANLinux
}

func (o *overlay) block(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { o.blocked.get(c).Store(true) }

// TestDiagnoseFindsTunnelsThatNothingComesBackBy: what is lost behind the node makes no drop on it.
func TestDiagnoseFindsTunnelsThatNothingComesBackBy(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, c := range []struct {
			name, sure, proof string
			answer            func([]byte) []byte
			to                []string // last parts of addresses at the other node
		}{
			{"two pods", "likely", ", 0 came back", nil, []string{"3", "4", "3", "4"}},
			{"one pod", "possible", ", 0 came back", nil, []string{"3", "3", "3", "3"}},
			{"one pod, refused", "certain", "ICMP port-unreachable", refusal, []string{"3"}},
		} {
			o := &overlay{f: f, answer: c.answer}
			all = append(all, lab.Scenario{
				Name: f.name + " " + c.name, Args: []string{"diagnose", "--duration", "6s"}, Want: "overlay-blocked", Sure: c.sure,
				Proof: c.proof, Setup: o.setup, Fault: o.block,
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
					for _, last := range c.to {
						pingFrom(p.NS, f.sub(p, last))
					}
				},
			})
		}
	}
	lab.RunAll(t, all)
}

// TestDiagnoseFindsTheTunnelAndNoNeighbourBehindIt: who asks for a neighbour by the tunnel gets no answer either.
func TestDiagnoseFindsTheTunnelAndNoNeighbourBehindIt(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"diagnose", "--duration", "6s"}, Want: "overlay-blocked", Sure: "certain", Proof: "port-unreachable",
			Setup: f.tunnel,
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.do(p.NS, "neigh flush dev vx0")
				c.Server.IP("link set vx0 down")
			},
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				_, _ = p.Try("ping", "-n", "-c1", "-W4", f.sub(p, "3")) // until the kernel gives the neighbour up
			},
		})
	}
	lab.RunAll(t, all)
}

// TestDiagnoseFindsWhoHasTheTunnelsPort: the pod's namespace is a node whose tunnel cannot be set up.
func TestDiagnoseFindsWhoHasTheTunnelsPort(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		all = append(all, lab.Scenario{
			Name: f.name, Args: []string{"diagnose", "--duration", "6s"}, Want: "overlay-blocked", Sure: "certain", Proof: "dnsmasq",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.tunnel(t, c, p)
				p.IP("link set vx0 address 02:00:00:00:00:02")
				f.do(c.Server, "neigh replace "+f.sub(p, "2")+" lladdr 02:00:00:00:00:02 dev vx0")
			},
			Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				p.IP("link set vx0 down")
				p.Start("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=8472")
				for p.Run("ss", "-Huln", "sport", "=", ":8472") == "" {
					time.Sleep(10 * time.Millisecond) // it says nothing when it is ready
				}
				if out, err := p.Try("ip", "link", "set", "vx0", "up"); err == nil {
					t.Errorf("the device is up though its port is taken: %s", out)
				}
			},
			Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) { pingFrom(c.Server, f.sub(p, "2")) },
		})
	}
	lab.RunAll(t, all)
}
