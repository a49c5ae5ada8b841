// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// dialAgain dials from a port that was used a moment before. It is in use as long as the last ACK is not there, or a child
// that another test has forked has the socket, because it has not called exec yet: neither is an event to wait for.
func dialAgain(d net.Dialer, network, to string) (net.Conn, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := d.Dial(network, to)
		if inUse := errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL); !inUse || time.Now().After(deadline) {
			return c, err
		}
		time.Sleep(5 * time.Millisecond) // a port has no wait of its own
	}
}

// from connects from a port of a namespace that was used before.
func from(ns *lab.NS, port uint16, to string) (net.Conn, error) {
	local := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	if a := netip.MustParseAddrPort(to); a.Addr().Is6() {
		local = netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	}
	d := net.Dialer{
		Timeout: 10 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(local),
		Control: func(_, _ string, raw syscall.RawConn) error {
			var set error
			err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			if err != nil {
				return err
			}
			return set
		},
	}
	var c net.Conn
	var err error
	ns.Do(func() { c, err = dialAgain(d, "tcp", to) })
	return c, err
}

// parted is a server that closes first, so that its end is in TIME-WAIT.
func (f stack) parted(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
	l := listen(t, c.Server, f.server)
	go serve(l, func() func(net.Conn) {
		return func(c net.Conn) { lab.Close(c) }
	})
}

// reconnects comes three times by one port. Clocks of timestamps are the client's: with 1 each pair of addresses has its own,
// and each pair of ports too where the kernel hashes these (6.18.44 does); with 2 all have the same. So time goes back once
// by going from the one to the other and back.
func (f stack) reconnects(clocks func(c *lab.Cluster) [2]string) step {
	return func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
		all := clocks(c)
		for i := range 3 {
			p.Sysctl("net/ipv4/tcp_timestamps", all[i%2])
			conn, err := from(p.NS, 40123, net.JoinHostPort(f.server, webPort))
			if err != nil {
				t.Error(err)
				continue
			}
			_, _ = io.Copy(io.Discard, conn) // until the server has closed
			lab.Close(conn)
		}
	}
}

// TestResetNamesASynThatMeetsAnOlderConnection: it is neither refused nor does a firewall have to do with it.
func TestResetNamesASynThatMeetsAnOlderConnection(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		var clocks each[[2]string]
		all = append(all, lab.Scenario{
			Name: f.name + " in TIME-WAIT, with a timestamp that goes back", Args: []string{"reset"},
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.parted(t, c, p)
				clocks.put(c, [2]string{"1", "1"})
			},
			Fault:   func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { clocks.put(c, [2]string{"1", "2"}) },
			Traffic: f.reconnects(clocks.get),
			Want:    "connect-no-response", Sure: "likely", Proof: "in answer to [.] " + net.JoinHostPort(f.server, webPort),
		})
	}
	lab.RunAll(t, all)
}
