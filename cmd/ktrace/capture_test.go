// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// packetLine is what the tests look at of a captured packet.
type packetLine struct {
	Pod   struct{ Namespace, Name string }
	Peer  struct{ Namespace, Name string }
	Iface string
	Netns uint32
	Way   string `json:"direction"`
	Frame struct {
		Length   int
		Captured int
	}
}

// pings is how many echo requests a test sends: a prime, so that no other count is mistaken for it.
const pings = 23

func ping(from *lab.NS, to string, extra ...string) {
	from.Run(append([]string{"ping", "-q", "-c", "23", "-i", "0.002", "-W", "5"}, append(extra, to)...)...)
}

func TestCaptureTakesThePacketsOfAPod(t *testing.T) {
	t.Parallel()
	for _, variant := range []string{"tcx", "clsact"} {
		t.Run(variant, func(t *testing.T) {
			if variant == "tcx" && !kernelHas(t, "tcx_prog_attach") {
				t.Skip("this kernel has no tcx (6.6)")
			}
			takesThePacketsOfAPod(t, variant)
		})
	}
}

func takesThePacketsOfAPod(t *testing.T, variant string) {
	c := lab.NewCluster(t)
	k := lab.NewKubelet(t)
	a, b := c.AddPod("a"), c.AddPod("b")
	k.Pod("default", "web-0").Start("app", a.NS, "sleep", "600")
	k.Pod("default", "web-1").Start("app", b.NS, "sleep", "600")
	run := lab.Ktrace(t, "capture", "--pod", "default/web-0", "--host-root", k.Root, "--variant", variant, "-s", "60",
		"icmp[icmptype] == icmp-echo or icmp[icmptype] == icmp-echoreply")
	ping(b.NS, lab.ServerAddr)
	ping(a.NS, b.Addr, "-s", "3000")
	lines := run.Stop()
	count := map[string]int{}
	for _, l := range lab.Events(lines, "frame") {
		var p packetLine
		l.Into(t, &p)
		if p.Frame.Length < 1500 || p.Frame.Captured != 60 {
			t.Errorf("length %d, captured %d, want all of a fragment counted and 60 bytes taken", p.Frame.Length, p.Frame.Captured)
		}
		if p.Iface != "eth0" || p.Netns != a.Inode() || p.Pod.Name != "web-0" || p.Peer.Name != "web-1" {
			t.Errorf("not at the pod's device, or not between the pods: %s", l.Raw)
		}
		count[p.Way]++
	}
	if count["out"] != pings || count["in"] != pings {
		t.Errorf("%v packets, want %d each way; other pods' and fragments do not count", count, pings)
	}
}

func TestCaptureFollowsAPodThatComesLater(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	k := lab.NewKubelet(t)
	run := lab.Ktrace(t, "capture", "--pod", "late-*", "--host-root", k.Root, "icmp")
	p := c.AddPod("late")
	k.Pod("default", "late-0").Start("app", p.NS, "sleep", "600")
	p.Start("ping", "-q", "-i", "0.01", lab.ServerAddr)
	run.Await("a packet of the pod", func(l lab.Line) bool {
		return l.Kind == "frame" && strings.Contains(string(l.Raw), "late-0")
	})
	run.Stop()
}

// TestCaptureComesBackWhereADeviceIsSetUpAnew: Calico's agent removes what is at a device and begins again.
func TestCaptureComesBackWhereADeviceIsSetUpAnew(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("a")
	run := lab.Ktrace(t, "capture", "--netns", p.NS.Path(), "--variant", "clsact", "icmp")
	// In one process, and once more where ktrace was there before nevertheless.
	p.NS.Run("sh", "-c", "until printf 'qdisc del dev eth0 clsact\nqdisc add dev eth0 clsact\n' | tc -batch -; do :; done")
	p.Start("ping", "-q", "-i", "0.01", lab.ServerAddr)
	run.Await("a packet", func(l lab.Line) bool { return l.Kind == "frame" })
	run.Stop()
	if !strings.Contains(run.Stderr(), "re-attached") {
		t.Errorf("not a word of what may be missing: %q", run.Stderr())
	}
	if left := p.NS.Run("tc", "qdisc", "show", "dev", "eth0"); !strings.Contains(left, "clsact") {
		t.Errorf("the agent's queueing discipline is gone with ktrace:\n%s", left)
	}
}

func TestCaptureRefusesAnExpressionAndPointsAtIt(t *testing.T) {
	t.Parallel()
	run := lab.StartKtrace(t, "capture", "tcp", "port", "htp")
	_, status := run.Wait()
	if status != 2 || !strings.Contains(run.Stderr(), "\n         ^") {
		t.Errorf("status %d, said %q", status, run.Stderr())
	}
}
