// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestPodReachesServerAndNothingElse(t *testing.T) {
	c := NewCluster(t)
	pod := c.AddPod("a")
	for _, addr := range []string{ServerAddr, ServerAddr6} {
		pod.Run("ping", "-c1", "-W5", addr)
	}
	if out, err := pod.Try("ping", "-c1", "-W1", ServiceDNS); err == nil {
		t.Fatalf("a service address answers without translation:\n%s", out)
	}
	for _, ns := range []*NS{pod.NS, c.Node, c.Server} {
		for _, host := range hostAddrs(t) {
			if out, _ := ns.Try("ip", "route", "get", host); strings.Contains(out, "dev lo") {
				t.Errorf("%s reaches %s of the machine itself:\n%s", ns.Name, host, out)
			}
		}
	}
}

// hostAddrs are the machine's own addresses.
func hostAddrs(t *testing.T) []string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			hosts = append(hosts, n.IP.String())
		}
	}
	return hosts
}

func TestNothingStaysBehind(t *testing.T) {
	var name string
	t.Run("net", func(t *testing.T) {
		ns := New(t).Namespace("x")
		name = ns.Name
		ns.ResolvConf("nameserver 10.96.0.10\n")
		if got := ns.Run("cat", "/etc/resolv.conf"); got != "nameserver 10.96.0.10\n" {
			t.Errorf("resolv.conf of the namespace is %q", got)
		}
		ns.Start("tail", "-f", "/dev/null")
		ns.Do(func() {
			if _, err := net.DialTimeout("tcp", "10.0.0.1:80", time.Second); err == nil {
				t.Error("an empty namespace reaches something")
			}
		})
	})
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), name) {
		t.Errorf("%s is still there", name)
	}
}

func TestQueueHoldsPacketsUpUntilTheyAreReleased(t *testing.T) {
	c := NewCluster(t)
	p := c.AddPod("pod")
	c.Node.Run("iptables-legacy", "-t", "mangle", "-A", "FORWARD", "-p", "udp", "-j", "NFQUEUE", "--queue-num", "7")
	q := c.Node.Queue(7)
	var conn net.PacketConn
	c.Server.Do(func() {
		var err error
		if conn, err = net.ListenPacket("udp", ServerAddr+":9"); err != nil {
			t.Fatal(err)
		}
	})
	defer conn.Close()
	p.Do(func() {
		from, err := net.Dial("udp", ServerAddr+":9")
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		for range 2 {
			if _, err := from.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	})
	q.Await(2)
	q.Release()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := conn.ReadFrom(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
}
