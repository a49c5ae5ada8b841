// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// far is an address behind the server, which the node's default route leads to.
func (f stack) far() string {
	if f.ip == "ip" {
		return "10.77.0.1"
	}
	return "fd00:77::1"
}

// bits is the length of a prefix for one address.
func (f stack) bits() string {
	if f.ip == "ip" {
		return "/32"
	}
	return "/128"
}

// sub returns a format of addresses of another net than the pod's, that no other test's pods have.
func (f stack) sub(p *lab.Pod, last string) string {
	if f.ip == "ip" {
		return "100" + strings.TrimPrefix(strings.TrimSuffix(p.Addr, "2"), "10") + last
	}
	return strings.Replace(strings.TrimSuffix(p.Addr6, "2"), "244", "245", 1) + last
}

// beneath is an address in a network beneath the pod's namespace, which for some tests is a node.
func (f stack) beneath(p *lab.Pod, last string) string {
	if f.ip == "ip" {
		return "101" + strings.TrimPrefix(f.sub(p, last), "100")
	}
	return strings.Replace(f.sub(p, last), "245", "246", 1)
}

// do runs commands of ip(8) for the family.
func (f stack) do(ns *lab.NS, commands ...string) {
	all := make([]string, 0, len(commands))
	for _, c := range commands {
		all = append(all, strings.TrimPrefix(strings.TrimPrefix(f.ip, "ip")+" "+c, " "))
	}
	ns.IP(all...)
}

// behind gives the server's host another address, with a server, that the node knows by its default route.
func (f stack) behind(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	f.do(c.Server, "addr add "+f.far()+f.bits()+" dev lo nodad")
	echoTCP(t, c.Server, "80")
}

// quickNeighbours has the node give up neighbours soon.
func (f stack) quickNeighbours(c *lab.Cluster) {
	version := map[string]string{"ip": "ipv4", "ip -6": "ipv6"}[f.ip]
	c.Node.Sysctl("net/"+version+"/neigh/uplink/retrans_time_ms", "100")
}

// pingFrom sends echo requests; it does not mind if nobody answers.
func pingFrom(ns *lab.NS, addr string, flags ...string) {
	_, _ = ns.Try(append([]string{"ping", "-n", "-c2", "-i0.2", "-W1", addr}, flags...)...)
}

// pathFaults are those of routing and neighbours.
func pathFaults(f stack) []lab.Scenario {
	forwarding := map[string]string{"ip": "net/ipv4/ip_forward", "ip -6": "net/ipv6/conf/all/forwarding"}[f.ip]
	toFar := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { fetch(p.NS, net.JoinHostPort(f.far(), "80"), patience) }
	toBeyond := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
		fetch(p.NS, net.JoinHostPort(f.beyond, "80"), patience)
	}
	return []lab.Scenario{
		{
			Name: "no forwarding", Want: "ip-forward-disabled", Sure: "certain", Proof: " = 0 in netns", Setup: f.behind, Traffic: toFar,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { c.Node.Sysctl(forwarding, "0") },
		},
		{
			Name: "no route forward", Want: "no-route", Sure: "certain", Proof: "ENETUNREACH", Setup: f.behind, Traffic: toFar,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { f.do(c.Node, "route del default") },
		},
		{
			Name: "unreachable route", Want: "no-route", Sure: "certain", Proof: "EHOSTUNREACH", Setup: f.behind, Traffic: toFar,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Node, "route add unreachable "+f.far()+f.bits())
			},
		},
		{
			Name: "prohibit route", Want: "no-route", Sure: "certain", Proof: "EACCES", Setup: f.behind, Traffic: toFar,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Node, "route add prohibit "+f.far()+f.bits())
			},
		},
		{
			Name: "blackhole route", Want: "no-route", Sure: "certain", Proof: "EINVAL", Setup: f.behind, Traffic: toFar,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Node, "route add blackhole "+f.far()+f.bits())
			},
		},
		{
			Name: "nobody at the address", Want: "neighbour-failed", Sure: "certain", Proof: f.beyond, Traffic: toBeyond,
			Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Server, "addr add "+f.beyond+f.bits()+" dev eth0 nodad")
				echoTCP(t, c.Server, "80")
				f.quickNeighbours(c)
			},
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Server, "addr del "+f.beyond+f.bits()+" dev eth0")
			},
		},
		{
			Name: "routing loop", Want: "ttl-exceeded", Sure: "certain", Proof: "TTL 1", Setup: f.behind, Traffic: toFar,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
				f.do(c.Server, "addr del "+f.far()+f.bits()+" dev lo", "route add "+f.far()+f.bits()+" via "+f.uplink)
				c.Server.Sysctl(forwarding, "1")
			},
		},
	}
}

// ipv4Faults are those that only IPv4 has.
func ipv4Faults(f stack) []lab.Scenario {
	return []lab.Scenario{
		{
			Name: "reverse path", Want: "rp-filter", Sure: "certain", Proof: "rp_filter = 1",
			Setup: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				source := f.sub(p, "2")
				p.IP("addr add " + source + "/32 dev eth0")
				p.Sysctl("net/ipv4/conf/eth0/arp_announce", "2") // else the node drops the ARP request, too
				c.Node.IP("route add " + source + " dev " + p.Veth)
				c.Server.IP("route add " + source + " via " + f.uplink)
				c.Node.Sysctl("net/ipv4/conf/"+p.Veth+"/rp_filter", "1")
			},
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				c.Node.IP("route change " + f.sub(p, "2") + " via " + f.server)
			},
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { pingFrom(p.NS, f.server, "-I", f.sub(p, "2")) },
		},
		{
			Name: "a node port at localhost", Want: "sysctl-wrong", Sure: "certain", Proof: "route_localnet = 0",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) { // the pod's namespace stands for a node
				web(t, c, p)
				p.Run("iptables", "-t", "nat", "-A", "OUTPUT", "-d", "127.0.0.1", "-p", "tcp", "--dport", "30080", "-j", "DNAT", "--to-destination", f.server+":80")
				p.Run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "127.0.0.1", "-j", "MASQUERADE")
				p.Sysctl("net/ipv4/conf/all/route_localnet", "1")
			},
			Fault:   func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { p.Sysctl("net/ipv4/conf/all/route_localnet", "0") },
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { fetch(p.NS, "127.0.0.1:30080", patience) },
		},
		{
			Name: "the node's own address as source", Want: "martian-source", Sure: "certain", Proof: "this host itself",
			Fault:   inPod("iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "SNAT", "--to-source", f.uplink),
			Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { pingFrom(p.NS, f.server) },
		},
	}
}

// ipv6Faults are those of IPv6 that are made otherwise than IPv4's.
func ipv6Faults(f stack) []lab.Scenario {
	return []lab.Scenario{{
		Name: "a loopback address as source", Want: "martian-source", Sure: "certain", Proof: "a loopback address arrived",
		Fault:   inPod("ip6tables", "-t", "nat", "-A", "POSTROUTING", "-j", "SNAT", "--to-source", "::1"),
		Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { pingFrom(p.NS, f.server) },
	}}
}

func TestDropNamesWhatIsWrongOnTheWay(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		faults := pathFaults(f)
		if f.ip == "ip" {
			faults = append(faults, ipv4Faults(f)...)
		} else {
			faults = append(faults, ipv6Faults(f)...)
		}
		for _, s := range slices.Concat(faults, overlayFaults(f), mtuFaults(f)) {
			s.Name = f.name + " " + s.Name
			s.Args = []string{"drop"}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// mtuFaults are packets of 1428 bytes, or 1448, with devices on their way that take less.
func mtuFaults(f stack) []lab.Scenario {
	large := func(to func(*lab.Pod) string) step {
		return func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { pingFrom(p.NS, to(p), "-s", "1400", "-M", "do") }
	}
	server := func(*lab.Pod) string { return f.server }
	return []lab.Scenario{
		{
			Name: "small uplink", Want: "mtu-exceeded", Sure: "certain", Proof: "limit 1300 at uplink (forward)", Traffic: large(server),
			Fault: onNode("ip", "link", "set", "uplink", "mtu", "1300"),
		},
		{
			Name: "a sender that does not listen", Want: "pmtu-icmp-ignored", Sure: "certain", Proof: "after the first answer",
			Fault:   onNode("ip", "link", "set", "uplink", "mtu", "1300"),
			Traffic: func(t testing.TB, _ *lab.Cluster, p *lab.Pod) { f.stubborn(t, p) },
		},
		{
			Name: "small end of a veth", Want: "mtu-exceeded", Sure: "certain", Proof: "limit 1300 at the other end of eth0 (veth)", Traffic: large(server),
			Fault: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) { c.Node.IP("link set " + p.Veth + " mtu 1300") },
		},
		{
			Name: "small port of a bridge", Want: "mtu-exceeded", Sure: "certain", Proof: "limit 1300 at port2",
			Setup:   f.bridge,
			Fault:   onNode("ip", "link", "set", "port2", "mtu", "1300"),
			Traffic: large(func(p *lab.Pod) string { return f.sub(p, "3") }),
		},
		{
			Name: "sent where translation leads", Want: "mtu-exceeded", Sure: "certain", Proof: "limit 1300",
			Setup: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.bridge(nil, c, p)
				p.Run(f.iptables, "-t", "nat", "-A", "OUTPUT", "-d", f.far(), "-j", "DNAT", "--to-destination", f.sub(p, "3"))
			},
			Fault:   func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { p.IP("link set net1 mtu 1300") },
			Traffic: large(func(*lab.Pod) string { return f.far() }),
		},
		{
			Name: "forwarded into a tunnel", Want: "mtu-exceeded", Sure: "certain", Proof: "limit 1300 at vx0 (forward)",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.tunnel(t, c, p)
				f.inner(c, p)
			},
			Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { p.IP("link set vx0 mtu 1300") },
			Traffic: func(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
				pingFrom(c.Namespace("inner"), f.sub(p, "3"), "-s", "1350", "-M", "do")
			},
		},
	}
}

// inner is a pod of the node that the pod's namespace stands for.
func (f stack) inner(c *lab.Cluster, p *lab.Pod) {
	inner := c.Namespace("inner")
	prefix := map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]
	near, far := f.beneath(p, "1"), f.beneath(p, "2")
	c.Veth(lab.End{NS: inner, Name: "eth0", Addrs: []string{far + prefix}}, lab.End{NS: p.NS, Name: "pod0", Addrs: []string{near + prefix}})
	f.do(inner, "route add default via "+near)
	f.do(c.Server, "route add "+far+f.bits()+" via "+f.sub(p, "2"))
	p.Sysctl("net/ipv4/ip_forward", "1")
	p.Sysctl("net/ipv6/conf/all/forwarding", "1")
}

// stubborn sends large datagrams that may not be cut up, whatever ICMP reports of the path MTU (IP_PMTUDISC_PROBE).
func (f stack) stubborn(t testing.TB, p *lab.Pod) {
	d := net.Dialer{Control: func(network, _ string, c syscall.RawConn) (err error) {
		level, option := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
		if strings.HasSuffix(network, "6") {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
		}
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, unix.IP_PMTUDISC_PROBE) }), err)
	}}
	_, _ = p.Try("ping", "-c1", "-W5", f.server) // so that the first answer waits for no neighbour
	p.Do(func() {
		c, err := d.Dial("udp", net.JoinHostPort(f.server, "8"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 8 {
			_, _ = c.Write(make([]byte, 1400)) // reports what came for the one before
			if i > 0 {
				continue // the others are sent at once, in spite of the ICMP error
			}
			until := time.Now().Add(answerable)
			_ = c.SetReadDeadline(until)
			for time.Now().Before(until) {
				_, _ = c.Read(make([]byte, 8)) // returns the ICMP error, or when it is time
			}
		}
	})
}

// answerable is how long an ICMP error may take to reach its sender and be obeyed, and a bit.
const answerable = 150 * time.Millisecond

// tunnel joins the pod's namespace, which stands for a node, and the server, which stands for another, by a tunnel.
func (f stack) tunnel(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
	prefix := map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]
	local := map[string]string{"ip": p.Addr, "ip -6": p.Addr6}[f.ip]
	p.IP("link add vx0 type vxlan id 42 dev eth0 local " + local + " remote " + f.server + " dstport 8472")
	c.Server.IP("link add vx0 type vxlan id 42 dev eth0 local " + f.server + " remote " + local + " dstport 8472")
	for ns, last := range map[*lab.NS]string{p.NS: "2", c.Server: "3"} {
		f.do(ns, "addr add "+f.sub(p, last)+prefix+" dev vx0 nodad", "link set vx0 up")
	}
}

// overlayFaults are those of a tunnel.
func overlayFaults(f stack) []lab.Scenario {
	setup := f.tunnel
	traffic := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { pingFrom(p.NS, f.sub(p, "3")) }
	return []lab.Scenario{
		{
			Name: "tunnel dropped on the way", Want: "overlay-blocked", Sure: "certain", Proof: "--dport 8472", Setup: setup, Traffic: traffic,
			Fault: onNode(f.iptables, "-A", "FORWARD", "-p", "udp", "--dport", "8472", "-j", "DROP"),
		},
		{
			Name: "tunnel gone at the other node", Want: "overlay-blocked", Sure: "certain", Proof: "port-unreachable", Setup: setup, Traffic: traffic,
			Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { c.Server.IP("link del vx0") },
		},
	}
}

// bridge joins the pod and another host by a bridge of the node.
func (f stack) bridge(_ testing.TB, c *lab.Cluster, p *lab.Pod) {
	other := c.Namespace("other")
	prefix := map[string]string{"ip": "/24", "ip -6": "/64"}[f.ip]
	c.Node.IP("link add br0 type bridge", "link set br0 up")
	c.Veth(lab.End{NS: p.NS, Name: "net1", Addrs: []string{f.sub(p, "2") + prefix}}, lab.End{NS: c.Node, Name: "port1"})
	c.Veth(lab.End{NS: other, Name: "eth0", Addrs: []string{f.sub(p, "3") + prefix}}, lab.End{NS: c.Node, Name: "port2"})
	c.Node.IP("link set port1 master br0", "link set port2 master br0")
}
