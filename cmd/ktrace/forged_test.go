// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// victim is a pod whose connection and queries are well, with all that a forger may come to know of them.
type victim struct {
	t            testing.TB
	pod          *lab.Pod
	addr, server netip.Addr
	conn, dns    net.Conn
	asked        int
}

// newVictim has a connection to a server that sends back what it gets, and asks another for names.
func newVictim(t testing.TB, c *lab.Cluster, f stack) *victim {
	t.Helper()
	p := c.AddPod("pod")
	v := &victim{t: t, pod: p, addr: netip.MustParseAddr(f.addr(p)), server: netip.MustParseAddr(f.server)}
	c.Server.ServeTCP(net.JoinHostPort(f.server, "8080"), func(conn *net.TCPConn) {
		buf := make([]byte, 4096)
		for n, err := conn.Read(buf); err == nil; n, err = conn.Read(buf) {
			_, _ = conn.Write(buf[:n])
		}
	})
	serveDNS(t, c.Server, net.JoinHostPort(f.server, "53"), wellServed)
	p.Do(func() {
		var err error
		if v.conn, err = net.Dial("tcp", net.JoinHostPort(f.server, "8080")); err == nil {
			v.dns, err = net.Dial("udp", net.JoinHostPort(f.server, "53"))
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { v.conn.Close(); v.dns.Close() })
	return v
}

// works has an exchange with each server, which must be as if nobody forged anything.
func (v *victim) works() {
	v.t.Helper()
	v.asked++
	query := v.query(uint16(v.asked))
	for _, ask := range []struct {
		to   net.Conn
		what []byte
	}{{v.conn, []byte("hello")}, {v.dns, query}} {
		buf := make([]byte, 4096)
		_ = ask.to.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := ask.to.Write(ask.what); err != nil {
			v.t.Fatal(err)
		}
		if _, err := ask.to.Read(buf); err != nil {
			v.t.Fatal(err)
		}
	}
}

func (v *victim) query(id uint16) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("www.example.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		v.t.Fatal(err)
	}
	return b
}

// ends are those of one of its connections.
func ends(c net.Conn) (near, far netip.AddrPort) {
	return netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
}

// lies are packets about the victim of which each says that something is wrong.
func (v *victim) lies(forger netip.Addr) [][]byte {
	client, web := ends(v.conn)
	asker, dns := ends(v.dns)
	port := func(n uint16) netip.AddrPort { return netip.AddrPortFrom(v.addr, n) }
	segment := packettest.TCP(client, web, packettest.ACK, 1, 1, []byte("hello"))
	elsewhere := packettest.TCP(port(50001), netip.AddrPortFrom(v.server, 444), packettest.SYN, 1, 0, nil)
	datagram := packettest.UDP(port(50002), netip.AddrPortFrom(v.server, 9999), []byte("hello"))
	codes := [][2]uint8{{3, 0}, {3, 1}, {3, 2}, {3, 3}, {3, 7}, {3, 13}, {11, 0}}
	if v.addr.Is6() {
		codes = [][2]uint8{{1, 0}, {1, 1}, {1, 3}, {1, 4}, {1, 5}, {3, 0}, {4, 1}}
	}
	var lies [][]byte
	for _, from := range []netip.Addr{forger, v.server} {
		for _, code := range codes {
			lies = append(lies, packettest.ICMPError(from, code[0], code[1], 0, elsewhere), packettest.ICMPError(from, code[0], code[1], 0, datagram))
			if from == forger { // those of the server itself about its own connections are heeded
				lies = append(lies, packettest.ICMPError(from, code[0], code[1], 0, segment))
			}
		}
	}
	far := netip.AddrPortFrom(v.server.Next(), 80)
	bad := packettest.TCP(web, client, packettest.ACK, 1, 1, []byte("hello"))
	bad[len(bad)-1]++
	low := packettest.TCP(client, web, packettest.ACK, 1, 1, nil)
	low[map[bool]int{true: 7, false: 8}[v.addr.Is6()]] = 1 // its TTL
	if !v.addr.Is6() {
		low[10], low[11] = 0, 0
		setChecksum(low)
	}
	return append(lies,
		packettest.TCP(web, client, packettest.RST, 77, 0, nil),
		packettest.TCP(netip.AddrPortFrom(v.server, 443), port(50003), packettest.RST|packettest.ACK, 0, 2, nil),
		packettest.TCP(far, port(50004), packettest.SYN|packettest.ACK, 9, 2, nil), // backscatter
		packettest.TCP(port(50005), netip.AddrPortFrom(v.server, 81), packettest.SYN, 5, 0, nil),
		packettest.TCP(port(50006), web, packettest.SYN, 6, 0, nil),
		packettest.TCP(web, port(82), packettest.SYN, 7, 0, nil),
		packettest.TCP(port(50007), netip.AddrPortFrom(v.server.Next(), 80), packettest.SYN, 8, 0, nil),
		packettest.UDP(port(50008), netip.AddrPortFrom(v.server, 5000), []byte("nobody listens")),
		packettest.UDP(port(50009), dns, v.query(77)), // its answer has no socket
		packettest.UDP(port(50010), netip.AddrPortFrom(v.server.Next(), 53), v.query(78)),
		packettest.UDP(dns, asker, v.answer(79, dnsmessage.RCodeServerFailure)),
		packettest.UDP(dns, port(50011), v.answer(80, dnsmessage.RCodeRefused)),
		packettest.UDP(port(50012), netip.AddrPortFrom(v.server, 8472), append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, packettest.Frame(elsewhere)...)),
		bad, low)
}

// setChecksum writes the checksum of an IPv4 header in which it is 0.
func setChecksum(p []byte) {
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(p[i])<<8 | uint32(p[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = ^(sum&0xffff + sum>>16)
	p[10], p[11] = byte(sum>>8), byte(sum)
}

func (v *victim) answer(id uint16, code dnsmessage.RCode) []byte {
	b := v.query(id)
	b[2], b[3] = b[2]|0x80, b[3]|byte(code)
	return b
}

// TestAttackForgedPackets: what a pod says in the name of others, and of the connections of others, is no fault of theirs; nor is
// what hosts answer to it.
func TestAttackForgedPackets(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		for _, forging := range []bool{true, false} {
			t.Run(f.name+map[bool]string{true: " forged", false: " healthy"}[forging], func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				v := newVictim(t, c, f)
				evil := c.AddForger("evil")
				v.works()
				run := lab.Ktrace(t, "diagnose", "--netns", v.pod.Path())
				for range 4 {
					v.works()
					if forging {
						evil.Send(v.lies(netip.MustParseAddr(f.addr(evil.Pod)))...)
					}
					v.works()
					time.Sleep(patience) // for a second and more in all, which is more than a moment
				}
				lines := run.Stop()
				for _, l := range lab.Findings(lines) {
					var found struct{ Severity, Confidence string }
					if l.Into(t, &found); found.Severity != "info" || found.Confidence == "certain" {
						t.Errorf("claims %s", l.Raw)
					}
				}
			})
		}
	}
}

// TestAttackForgedReset: of a connection that a forged reset ended it is said who sent it.
func TestAttackForgedReset(t *testing.T) {
	t.Parallel()
	f := stacks()[0]
	c := lab.NewCluster(t)
	v := newVictim(t, c, f)
	evil := c.AddForger("evil")
	k := lab.NewKubelet(t)
	k.Pod("bad", "evil").Start("app", evil.NS, "sleep", "600").Await()
	next := sniffSegment(t, c.Server)
	v.works()
	run := lab.Ktrace(t, "reset", "--netns", v.pod.Path(), "--host-root", k.Root)
	client, web := ends(v.conn)
	v.works()
	evil.Send(packettest.TCP(web, client, packettest.RST, next(), 0, nil))
	found := run.AwaitFinding("reset-by-middlebox")
	run.Stop()
	var said struct{ Title, Confidence string }
	if found.Into(t, &said); !strings.HasPrefix(said.Title, "Pod bad/evil (") || said.Confidence != "likely" {
		t.Errorf("says %s", json.RawMessage(found.Raw))
	}
}

// sniffSegment returns a function that returns the sequence number that follows the latest segment which port 8080 sent.
func sniffSegment(t testing.TB, ns *lab.NS) (next func() uint32) {
	t.Helper()
	var sniffer int
	ns.Do(func() {
		sniffer = socket(t, unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, int(htons(unix.ETH_P_ALL)))
	})
	t.Cleanup(func() { unix.Close(sniffer) })
	return func() (seq uint32) {
		buf := make([]byte, 4096)
		for {
			n, _, err := unix.Recvfrom(sniffer, buf, 0)
			if err != nil {
				return seq
			}
			if _, tcp := segmentOf(buf[:n]); tcp != nil && tcp.SrcPort == 8080 {
				seq = tcp.Seq + uint32(len(tcp.Payload))
			}
		}
	}
}
