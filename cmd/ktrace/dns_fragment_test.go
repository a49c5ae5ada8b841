// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// Ports of servers whose large answers get lost.
const (
	portPart = "5364" // their last fragment does
	portNone = "5365" // all fragments do
)

const (
	smallName = "small.example.org"
	fits      = 1232 // bytes of UDP into one packet
)

// servedLarge has answers that are larger than a packet, but for one name.
func servedLarge(m *dnsmessage.Message) bool {
	wellServed(m)
	if m.Questions[0].Name.String() != smallName+"." {
		for range 120 {
			m.Answers = append(m.Answers, m.Answers[0])
		}
	}
	return true
}

// servedSmall answers for the one name only.
func servedSmall(m *dnsmessage.Message) bool {
	return m.Questions[0].Name.String() == smallName+"." && wellServed(m)
}

// firstFragment is the IP packet with as much of a UDP datagram as fits into one.
func firstFragment(from, to netip.AddrPort, payload []byte) []byte {
	const id = 77
	return packettest.Fragments(packettest.UDP(from, to, payload), id, fits)[0]
}

// serveInPart answers queries at an address with no more than the first fragment, as if the others were lost on the way.
func serveInPart(t testing.TB, ns *lab.NS, addr string) {
	t.Helper()
	server := netip.MustParseAddrPort(addr)
	family := map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[server.Addr().Is4()]
	var raw int
	ns.Do(func() {
		var err error
		if raw, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			t.Fatal(err)
		}
	})
	stop := ns.ServeUDP(addr, func(at net.PacketConn, from net.Addr, query []byte) {
		client := from.(*net.UDPAddr).AddrPort()
		var to unix.Sockaddr = &unix.SockaddrInet6{Addr: client.Addr().As16()}
		if server.Addr().Is4() {
			client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
			to = &unix.SockaddrInet4{Addr: client.Addr().As4()}
		}
		reply := replyDNS(t, query, servedLarge)
		var err error
		if len(reply) < fits {
			_, err = at.WriteTo(reply, from)
		} else {
			err = unix.Sendto(raw, firstFragment(server, client, reply), 0, to)
		}
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		_ = unix.Close(raw)
	})
}

func TestDNSReportsLargeAnswersThatAreLost(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		for _, s := range []lab.Scenario{
			{Name: "one fragment arrives", Want: "dns-no-response", Sure: "certain", Proof: "not its last fragment", Fault: f.retranslate(portPart)},
			{Name: "no fragment arrives", Want: "dns-no-response", Sure: "certain", Proof: "takes answers of 4096 bytes", Fault: f.retranslate(portNone)},
			{Name: "the node drops fragments", Want: "netfilter-drop", Sure: "certain", Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				fragments := map[string]string{"IPv4": "ip frag-off & 0x1fff != 0", "IPv6": "frag frag-off != 0"}[f.name]
				c.Node.Run("nft", "add table inet lab; add chain inet lab r { type filter hook prerouting priority -450; }; add rule inet lab r "+fragments+" drop")
			}},
		} {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"dns", "--wait", "2s", "--slow", "30s"}
			s.Setup = func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				p.ResolvConf(clusterNames + "nameserver " + f.service + "\n")
				f.translate(c.Node, "-A", portWell)
				serveDNS(t, c.Server, f.backend(portWell), servedLarge)
				serveDNS(t, c.Server, f.backend(portNone), servedSmall)
				serveInPart(t, c.Server, f.backend(portPart))
				p.Run("ping", "-c1", "-W20", f.server)
			}
			s.Traffic = func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				_, _ = p.Try("dig", "+tries=1", "+time=3", "+bufsize=4096", "+notcp", "@"+f.service, smallName, "A", "@"+f.service, "large.example.org", "A")
			}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}
