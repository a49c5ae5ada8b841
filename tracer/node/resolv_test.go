// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/tracer/netns"
	"ktrace/tracer/procfs"
)

// fakeNode is a file system that has processes in this test's network namespace, by their numbers, each with a resolv.conf.
type fakeNode struct {
	t    *testing.T
	root string
	ns   uint32
}

// patientResolv waits for each file, however busy the machine is.
func patientResolv(node *procfs.FS) *Resolv {
	r := NewResolv(node)
	r.wait = time.Minute
	return r
}

func newFakeNode(t *testing.T) *fakeNode {
	inode, err := netns.Inode("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{t: t, root: t.TempDir(), ns: inode}
	n.process(1, "")
	return n
}

// process adds one, or writes its file anew.
func (n *fakeNode) process(pid int, conf string) {
	n.t.Helper()
	dir := filepath.Join(n.root, "proc", fmt.Sprint(pid))
	for _, sub := range []string{"root/etc", "ns"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	if pid == 1 { // is in a namespace of its own
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "root/etc/resolv.conf"), []byte(conf), 0o644); err != nil {
		n.t.Fatal(err)
	}
	for _, thread := range []string{"", fmt.Sprintf("task/%d", pid)} {
		n.link("/proc/self/ns/net", filepath.Join(dir, thread, "ns/net"))
	}
}

func (n *fakeNode) link(to, at string) {
	n.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(to, at)); err != nil && !errors.Is(err, os.ErrExist) {
		n.t.Fatal(err)
	}
}

// visits gives a process another thread, in another namespace: the first only looks around in this test's.
func (n *fakeNode) visits(pid int) {
	n.t.Helper()
	n.link(n.root, filepath.Join(n.root, "proc", fmt.Sprint(pid), "task", fmt.Sprint(pid+1), "ns/net"))
}

// sends is a packet of a process, 0 for one that the kernel sends by itself, to a DNS server.
func (n *fakeNode) sends(pid uint32, server string) event.Event {
	return event.Event{Header: event.Header{PID: pid, Netns: n.ns, Direction: event.Out}, Body: event.Hop{},
		Packet: &packet.Packet{Proto: "udp", Dst: netip.MustParseAddr(server), Dport: portDNS}}
}

// nameservers are those of what a witness reports last, "" for nothing.
func nameservers(facts []event.Fact) string {
	for _, f := range facts {
		if f.Resolv != nil {
			return fmt.Sprint(f.Resolv.Nameservers)
		}
	}
	return ""
}

func TestResolvConfIsThatOfWhoAsks(t *testing.T) {
	const a, b = "10.96.0.10", "10.96.0.99"
	n := newFakeNode(t)
	r := patientResolv(procfs.At(n.root))
	for _, step := range []struct {
		what   string
		change func()
		event  event.Event
		want   string
	}{
		{"the kernel sends before there is a process", func() {}, n.sends(0, a), ""},
		{"the first process sends", func() { n.process(20, "nameserver "+a+"\n") }, n.sends(20, a), "[" + a + "]"},
		{"another asks the same server", func() { n.process(21, "nameserver "+b+"\n") }, n.sends(21, a), ""},
	} {
		step.change()
		if got := nameservers(r.Enrich(step.event)); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	l := r.looks[n.ns]
	l.last = l.last.Add(-retryEvery)
	r.looks[n.ns] = l
	if got := nameservers(r.Enrich(n.sends(21, b))); got != "["+b+"]" {
		t.Errorf("another asks another server: %q, want %s", got, b)
	}
	if got := nameservers(r.Enrich(n.sends(20, a))); got != "" {
		t.Errorf("and again at once: %q: a pod could have ktrace read files without end", got)
	}
}

// joins gives a process the node's files, as who enters a pod's network from the node has.
func (n *fakeNode) joins(pid int) {
	n.t.Helper()
	files := filepath.Join(n.root, "files")
	if err := os.WriteFile(files, nil, 0o644); err != nil {
		n.t.Fatal(err)
	}
	for _, pid := range []int{1, pid} {
		if err := os.Link(files, filepath.Join(n.root, "proc", fmt.Sprint(pid), "ns/mnt")); err != nil && !os.IsExist(err) {
			n.t.Fatal(err)
		}
	}
}

// ends leaves of a process what is left between two looks at it.
func (n *fakeNode) ends(pid int) {
	n.t.Helper()
	if err := os.RemoveAll(filepath.Join(n.root, "proc", fmt.Sprint(pid), "root")); err != nil {
		n.t.Fatal(err)
	}
}

// TestResolvConfIsAContainersRatherThanTheNodes: what sets a container up is in its network before its files are mounted,
// and so is who enters it from the node to look.
func TestResolvConfIsAContainersRatherThanTheNodes(t *testing.T) {
	const hosts, own = "192.0.2.53", "10.96.0.10"
	for name, c := range map[string]struct {
		sender uint32
		pods   []int
		want   string
	}{
		"the kernel sends":               {0, []int{31, 32}, own},
		"who joined sends":               {30, []int{31, 32}, own},
		"no other is there":              {30, nil, hosts},
		"the sender has ended":           {35, []int{31, 32}, own},
		"the sender ends while it reads": {33, []int{31, 33}, own},
		"another ktrace is there before": {35, []int{29, 31}, own},
		"another ktrace alone is there":  {35, []int{29}, hosts},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.process(30, "nameserver "+hosts+"\n")
			n.joins(30)
			for _, pid := range c.pods {
				n.process(pid, "nameserver "+own+"\n")
			}
			n.process(29, "nameserver 192.0.2.54\n")
			n.visits(29)
			n.ends(33)
			if got := nameservers(patientResolv(procfs.At(n.root)).Enrich(n.sends(c.sender, own))); got != "["+c.want+"]" {
				t.Errorf("%q, want [%s]", got, c.want)
			}
		})
	}
}

// TestResolvConfThatIsNoFileOfThePodsIsNotRead has one container lay a trap, and another beside it in the pod be honest.
func TestResolvConfThatIsNoFileOfThePodsIsNotRead(t *testing.T) {
	const own = "10.96.0.10"
	for name, trap := range map[string]func(at string) error{
		"a link out of the container": func(at string) error { return os.Symlink("/etc/resolv.conf", at) },
		"a link of proc":              func(at string) error { return os.Symlink("/proc/self/root/etc/resolv.conf", at) },
		"a pipe":                      func(at string) error { return unix.Mkfifo(at, 0o644) },
		"a device":                    func(at string) error { return unix.Mknod(at, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.process(40, "")
			at := filepath.Join(n.root, "proc/40/root/etc/resolv.conf")
			if err := errors.Join(os.Remove(at), trap(at)); err != nil {
				t.Fatal(err)
			}
			r := patientResolv(procfs.At(n.root))
			if got := nameservers(r.Enrich(n.sends(40, own))); got != "" {
				t.Errorf("read %s", got)
			}
			n.process(41, "nameserver "+own+"\n")
			if got := nameservers(r.Enrich(n.sends(41, own))); got != "" {
				t.Errorf("read %s, though another was looked for just now", got)
			}
			l := r.looks[n.ns]
			l.last = l.last.Add(-retryEvery)
			r.looks[n.ns] = l
			if got := nameservers(r.Enrich(n.sends(41, own))); got != "["+own+"]" {
				t.Errorf("read %q of the other container, want %s", got, own)
			}
		})
	}
}
