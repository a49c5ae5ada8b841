// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer/netns"
)

// TestAttackServersThatNobodyAskedFor: which servers a pod cannot have ktrace connect to, unless the user wants all asked.
func TestAttackServersThatNobodyAskedFor(t *testing.T) {
	lan := lab.New(t)
	host, pod := lan.Namespace("node"), lan.Namespace("pod")
	lan.Veth(lab.End{NS: host, Name: "veth", Addrs: []string{"10.9.0.1/24", "fd00:9::1/64"}}, lab.End{NS: pod, Name: "eth0", Addrs: []string{"10.9.0.2/24", "fd00:9::2/64"}})
	api := event.ServiceFact{Namespace: "default", Name: "kubernetes", Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Ports: []event.ServicePort{{Proto: "tcp", Port: 443, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.9.0.9:8443")}}}}
	for server, ok := range map[string]bool{
		"10.9.0.2:443": true, "[fd00:9::2]:443": true, "127.0.0.1:443": true, "10.96.0.2:443": true, "10.9.0.9:443": true,
		"10.9.0.1:443": false, "[fd00:9::1]:443": false, "[::ffff:10.9.0.1]:443": false,
		"169.254.169.254:80": false, "[::ffff:169.254.169.254]:80": false, "[fe80::1]:443": false, "[fd00:ec2::254]:80": false,
		"10.96.0.1:443": false, "10.9.0.9:8443": false, "10.9.0.2:6443": false, "10.9.0.2:10250": false, "10.9.0.2:2379": false,
		"0.0.0.0:443": false, "224.0.0.1:443": false,
	} {
		for _, any := range []bool{false, true} {
			s := newServers(observe(t), any)
			s.learn(event.Fact{Node: &event.Node{Netns: host.Inode()}})
			s.learn(event.Fact{Service: &api})
			a := netip.MustParseAddrPort(server)
			want := ok || any && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast()
			if got := s.may(a, pod.Inode()); got != want {
				t.Errorf("%s, all: %t: %t", server, any, got)
			}
		}
	}
	s := newServers(observe(t), false)
	s.learn(event.Fact{Node: &event.Node{Netns: host.Inode()}})
	if s.may(netip.MustParseAddrPort("127.0.0.1:443"), host.Inode()) {
		t.Error("a client on the node may have the node's own server asked")
	}
}

// TestAttackManyServers: whatever ports and names clients make up, a host is asked once a minute, and some hosts at a time.
func TestAttackManyServers(t *testing.T) {
	w := NewCertificates(observe(t), true)
	defer w.Close()
	now, port := time.Now(), func(a string, p int) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), uint16(p)) }
	n := 0
	for p := range 200 {
		if w.mayAsk(port("10.9.0.2", 1000+p), 7, now) {
			n++
		}
	}
	if n != 1 || !w.mayAsk(port("10.9.0.2", 1000), 7, now.Add(askAgain)) || w.mayAsk(port("::ffff:10.9.0.2", 1000), 7, now.Add(askAgain)) {
		t.Errorf("one host was asked %d times in a moment", n)
	}
	w.running[7] = maxAskingOf
	if w.mayAsk(port("10.9.0.3", 443), 7, now) || !w.mayAsk(port("10.9.0.3", 443), 8, now) {
		t.Error("one namespace has all that is asked at a time, or another none")
	}
	w.running[8] = maxAsking - maxAskingOf
	if w.mayAsk(port("10.9.0.4", 443), 9, now) {
		t.Error("too many are asked at a time")
	}
	clear(w.running)
	now = now.Add(2 * askAgain)
	asked := 0
	for i := range 4 * maxServers {
		if w.mayAsk(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 443), 7, now) {
			asked++
		}
	}
	if asked != maxServers || len(w.asked) > maxServers {
		t.Errorf("%d hosts were asked in a minute", asked)
	}
}

// TestAttackTarpit has servers that send without an end, that send nothing, and that send a byte at a time.
func TestAttackTarpit(t *testing.T) {
	ns := lab.New(t).Namespace("tarpit")
	hello, err := hex.DecodeString("1603030040") // of a record that begins a handshake
	if err != nil {
		t.Fatal(err)
	}
	for name, serve := range map[string]func(net.Conn, *atomic.Int64){
		"streams": func(c net.Conn, sent *atomic.Int64) {
			data := append([]byte{22, 3, 3, 64, 0}, make([]byte, 16384)...)
			for {
				n, err := c.Write(data)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"streams after its alert": func(c net.Conn, sent *atomic.Int64) {
			_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 40})
			for {
				n, err := c.Write(make([]byte, 16384))
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"says nothing": func(c net.Conn, _ *atomic.Int64) { _, _ = c.Read(make([]byte, 1<<16)); select {} },
		"drips": func(c net.Conn, _ *atomic.Int64) {
			for _, b := range append(hello, make([]byte, 64)...) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond) // which is the attack
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			var at netip.AddrPort
			ns.Do(func() {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				at = l.Addr().(*net.TCPAddr).AddrPort()
				go func() {
					if c, err := l.Accept(); err == nil {
						serve(c, &sent)
					}
				}()
			})
			handle, err := netns.Open(ns.Path())
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			answer := inquiry{handle: handle, about: event.Certificates{Server: at}, bound: make(chan uint16, 1)}.run(context.Background())
			if took := time.Since(begin); took > askFor+time.Second || answer.Failed == "" {
				t.Errorf("took %v: %+v", took, answer)
			}
			if n := sent.Load(); n > maxAnswer+8<<20 { // what stays in the server's send buffer counts, too
				t.Errorf("the server sent %d bytes", n)
			}
		})
	}
}

// TestAskingEndsAtOnce when ktrace does, whatever the servers do.
func TestAskingEndsAtOnce(t *testing.T) {
	ns := lab.New(t).Namespace("tarpit")
	var at netip.AddrPort
	ns.Do(func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		at = l.Addr().(*net.TCPAddr).AddrPort()
	})
	w := NewCertificates(observe(t), true)
	if f := w.ask(ns.Inode(), at, "web.example"); f.Certificates.Failed != "" || f.Certificates.Port == 0 {
		t.Fatalf("%+v", f.Certificates)
	}
	begin := time.Now()
	if err := w.Close(); err != nil || time.Since(begin) > askFor/4 {
		t.Errorf("took %v, %v", time.Since(begin), err)
	}
}
