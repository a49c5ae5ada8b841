// SPDX-License-Identifier: Apache-2.0

// Package lab builds small networks of namespaces for tests: pods, nodes and servers that exchange real packets
// through this kernel and can reach nothing else. A namespace has no route to the machine's own interfaces, so a
// packet that should have been translated and was not has nowhere to go.
package lab

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Net is a set of namespaces that one test made. They are gone, with all processes in them, when it ends.
type Net struct {
	t      testing.TB
	prefix string
	spaces map[string]*NS
}

// NS is a network namespace, known to ip(8) as Name.
type NS struct {
	t    testing.TB
	Name string
}

// New returns an empty net. It needs root.
func New(t testing.TB) *Net {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the lab needs root: network namespaces, BPF")
	}
	n := &Net{t: t, prefix: fmt.Sprintf("kt%d-%s", os.Getpid(), tag(t)), spaces: map[string]*NS{}}
	t.Cleanup(n.remove)
	return n
}

// tag is a short name made of the test's, unique among the tests that run at one time.
func tag(t testing.TB) string { return fmt.Sprintf("%08x", hash(t.Name())) }

// hash is FNV-1a.
func hash(s string) uint32 {
	var h uint32 = 2166136261
	for _, c := range []byte(s) {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// Namespace makes a namespace with lo up, or returns the one made before under that name.
func (n *Net) Namespace(name string) *NS {
	n.t.Helper()
	if ns, ok := n.spaces[name]; ok {
		return ns
	}
	ns := &NS{t: n.t, Name: n.prefix + "-" + name}
	n.spaces[name] = ns
	if err := addNetns(ns.Path()); err != nil {
		n.t.Fatalf("network namespace %s: %v", ns.Name, err)
	}
	return ns
}

// remove kills what still runs in the namespaces and removes them: one with a process in it would live on.
func (n *Net) remove() {
	if err := killAllIn(slices.Collect(maps.Values(n.spaces))); err != nil {
		n.t.Error(err)
	}
	for _, ns := range n.spaces {
		if err := removeNetns(ns.Path()); err != nil {
			n.t.Error(err)
		}
		if err := os.RemoveAll(ns.etc()); err != nil {
			n.t.Error(err)
		}
	}
}

// Inode is the number by which the kernel knows the namespace.
func (ns *NS) Inode() uint32 {
	ns.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(ns.Path(), &st); err != nil {
		ns.t.Fatal(err)
	}
	return uint32(st.Ino)
}

// Path is a file that stands for the namespace.
func (ns *NS) Path() string { return filepath.Join(netnsDir, ns.Name) }

// etc is where ip netns exec finds files that replace those in /etc.
func (ns *NS) etc() string { return filepath.Join("/etc/netns", ns.Name) }

// ResolvConf sets /etc/resolv.conf of the processes that Run and Start make from now on.
func (ns *NS) ResolvConf(text string) {
	ns.t.Helper()
	if err := os.MkdirAll(ns.etc(), 0o755); err != nil {
		ns.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ns.etc(), "resolv.conf"), []byte(text), 0o644); err != nil {
		ns.t.Fatal(err)
	}
}

// Do runs f in the namespace. Sockets that f makes stay there; goroutines that it starts do not.
func (ns *NS) Do(f func()) {
	ns.t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done) // also if f ends the test
		done <- ns.enter(f)
	}()
	switch err, returned := <-done; {
	case !returned:
		ns.t.FailNow()
	case err != nil:
		ns.t.Fatalf("%s: %v", ns.Name, err)
	}
}

// enter runs f on a thread that is in the namespace.
func (ns *NS) enter(f func()) error {
	return away(func() error {
		there, err := unix.Open(ns.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(there)
		if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
			return err
		}
		f()
		return nil
	})
}

// Run executes a command in the namespace and returns its output; the test fails if the command does.
func (ns *NS) Run(args ...string) string {
	ns.t.Helper()
	out, err := ns.Try(args...)
	if err != nil {
		ns.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// Try is Run for a command that may fail. One that needs no file of the namespace's own needs no other to start it.
func (ns *NS) Try(args ...string) (out string, err error) {
	ns.t.Helper()
	if _, missing := os.Stat(ns.etc()); missing == nil {
		args = ns.args(args)
	}
	ns.Do(func() { out, err = combinedOutput(exec.Command(args[0], args[1:]...)) })
	return out, err
}

func (ns *NS) args(args []string) []string {
	return append([]string{"ip", "netns", "exec", ns.Name}, args...)
}

// Start executes a command in the namespace and leaves it running until the test ends.
func (ns *NS) Start(args ...string) *exec.Cmd {
	ns.t.Helper()
	full := ns.args(args)
	c := exec.Command(full[0], full[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		ns.t.Fatalf("%v: %v", args, err)
	}
	ns.t.Cleanup(func() {
		if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			ns.t.Error(err)
		}
		_ = c.Wait() // killed
	})
	return c
}

// Sysctl sets a value below /proc/sys as the namespace sees it: Sysctl("net/ipv4/ip_forward", "1").
func (ns *NS) Sysctl(key, value string) {
	ns.t.Helper()
	ns.Do(func() {
		// The file belongs to the namespace of who opens it.
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
			ns.t.Error(err)
		}
	})
}

// IP runs commands of ip(8) in the namespace: IP("link set eth0 up", "-6 route add default via fd00::1"). Those of one
// family that follow each other are one process: where a kernel is emulated it takes long to start one.
func (ns *NS) IP(commands ...string) {
	ns.t.Helper()
	all := commands
	isSix := func(c string) bool { return strings.HasPrefix(c, "-6 ") }
	for len(commands) > 0 {
		six, flags := isSix(commands[0]), []string{"-netns", ns.Name, "-batch", "-"}
		if six {
			flags = append(flags, "-6")
		}
		n := slices.IndexFunc(commands, func(c string) bool { return isSix(c) != six })
		if n < 0 {
			n = len(commands)
		}
		c := exec.Command("ip", flags...)
		c.Stdin = strings.NewReader(strings.ReplaceAll(strings.Join(commands[:n], "\n"), "-6 ", ""))
		if out, err := c.CombinedOutput(); err != nil {
			ns.t.Fatalf("ip in %s: %q: %v\n%s", ns.Name, commands[:n], err, out)
		}
		commands = commands[n:]
	}
	var addrs []string
	ns.Do(func() { addrs = addressesUp(all) })
	ns.awaitLocal(addrs...)
}

// End is one end of a cable.
type End struct {
	NS    *NS
	Name  string
	Addrs []string // with prefix length
}

// Veth joins two namespaces by a pair of devices that are up and have their addresses.
func (n *Net) Veth(a, b End) {
	n.t.Helper()
	pair := fmt.Sprintf("link add %s type veth peer name %s netns %s", a.Name, b.Name, b.NS.Name)
	for i, end := range []End{a, b} {
		commands := []string{pair}[i:]
		for _, addr := range end.Addrs {
			commands = append(commands, "addr add "+addr+" dev "+end.Name+" nodad") // no wait for duplicates
		}
		end.NS.IP(append(commands, "link set "+end.Name+" up")...)
	}
	for _, end := range []End{a, b} {
		end.NS.awaitUp(end.Name, end.Addrs...)
	}
}

func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
