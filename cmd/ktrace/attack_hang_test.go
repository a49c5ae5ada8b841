// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// endsWithin is how long ktrace may live after a second signal, and what a busy machine takes to start this process and that.
const endsWithin = 300*time.Millisecond + 500*time.Millisecond

// fullPipe is one that takes nothing more, and whose reader does not read.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]) })
	for _, piece := range []int{4096, 1} {
		for {
			_, err := unix.Write(ends[1], make([]byte, piece))
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := unix.SetNonblock(ends[1], false); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(ends[1]), "a full pipe")
	t.Cleanup(func() { w.Close() })
	return w
}

// twice starts ktrace with that output, waits, interrupts it two times, and returns its programs and how long the second took.
func twice(t *testing.T, stdout *os.File, wait func(c *exec.Cmd), args ...string) (held []string, took time.Duration) {
	t.Helper()
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(os.Environ(), lab.AsKtrace+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }() // how it ends is not the matter
	wait(c)
	held = kernelObjects(t, c.Process.Pid)
	_ = c.Process.Signal(os.Interrupt)
	select {
	case <-ended: // by the first, as it should
		return held, 0
	case <-time.After(100 * time.Millisecond):
	}
	begin := time.Now()
	_ = c.Process.Signal(os.Interrupt)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = c.Process.Kill()
		<-ended
	}
	t.Logf("held %d, the second took %v\n%s", len(held), time.Since(begin), stderr.String())
	return held, time.Since(begin)
}

// twoDevices is a namespace with a pair of devices, for packets that nobody takes.
func twoDevices(t *testing.T) *lab.NS {
	ns := lab.New(t).Namespace("pod")
	ns.IP("link add veth0 type veth peer name peer0", "link set veth0 up", "link set peer0 up", "addr add 10.9.0.1/24 dev veth0",
		"neigh add 10.9.0.2 lladdr 02:00:00:00:00:01 dev veth0 nud permanent")
	return ns
}

// filtersOf are the TC filters at its device.
func filtersOf(t *testing.T, ns *lab.NS) string {
	t.Helper()
	return ns.Run("tc", "filter", "show", "dev", "veth0", "ingress") + ns.Run("tc", "filter", "show", "dev", "veth0", "egress")
}

// floods sends more than a pipe holds that is not read.
func floods(t *testing.T, ns *lab.NS) {
	ns.Do(func() {
		conn, err := net.Dial("udp", "10.9.0.2:9")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for range 500 {
			_, _ = conn.Write(make([]byte, 1000))
		}
	})
}

// TestAttackSecondSignalAlwaysEnds whatever ktrace waits for, and leaves nothing attached.
func TestAttackSecondSignalAlwaysEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	attached := func(ready string) func(*exec.Cmd) {
		return func(*exec.Cmd) {
			eventually(t, "it is attached", func() bool { _, err := os.Stat(ready); return err == nil })
		}
	}
	for _, tt := range []struct {
		name, write string
		args        []string
		wait        func(ns *lab.NS, ready string) func(*exec.Cmd)
	}{
		{"a reader that does not read", "-", nil, nil},
		{"the same, and clsact", "-", []string{"--variant", "clsact"}, nil},
		{"a pipe without a reader", fifo, nil, func(*lab.NS, string) func(*exec.Cmd) {
			return func(c *exec.Cmd) {
				eventually(t, "it waits for a reader", func() bool { return len(kernelObjects(t, c.Process.Pid)) > 3 })
			}
		}},
		{"while it attaches", filepath.Join(dir, "x.pcapng"), []string{"--variant", "clsact"}, func(*lab.NS, string) func(*exec.Cmd) {
			return func(c *exec.Cmd) {
				eventually(t, "it attaches", func() bool { return len(kernelObjects(t, c.Process.Pid)) > 0 })
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ns := twoDevices(t)
			ready := filepath.Join(t.TempDir(), "ready")
			wait := attached(ready)
			if tt.wait != nil {
				wait = tt.wait(ns, ready)
			}
			held, took := twice(t, fullPipe(t), func(c *exec.Cmd) {
				wait(c)
				floods(t, ns)
			}, append([]string{"capture", "-w", tt.write, "--netns", ns.Path(), "--ready-file", ready}, tt.args...)...)
			if took > endsWithin {
				t.Errorf("the second signal took %v", took)
			}
			if left := strings.TrimSpace(filtersOf(t, ns)); left != "" {
				t.Errorf("filters are left:\n%s", left)
			}
			for _, object := range held {
				eventually(t, object+" is gone", func() bool { return !exists(t, object) })
			}
		})
	}
}

// TestAttackSecondSignalWithManyFilters: what has to be removed one after the other is, however many devices a pod has made.
func TestAttackSecondSignalWithManyFilters(t *testing.T) {
	t.Parallel()
	const devices = 100
	ns := twoDevices(t)
	var more []string
	for n := range devices {
		more = append(more, fmt.Sprintf("link add more%d type bridge", n), fmt.Sprintf("link set more%d up", n))
	}
	ns.IP(more...)
	ready := filepath.Join(t.TempDir(), "ready")
	_, took := twice(t, fullPipe(t), func(*exec.Cmd) {
		eventually(t, "it is attached", func() bool { _, err := os.Stat(ready); return err == nil })
		if !strings.Contains(ns.Run("tc", "filter", "show", "dev", "more99", "egress"), "ktrace") {
			t.Error("the last device has no filter")
		}
		floods(t, ns)
	}, "capture", "-w", "-", "--variant", "clsact", "--netns", ns.Path(), "--ready-file", ready)
	if took > endsWithin {
		t.Errorf("the second signal took %v", took)
	}
	left := ns.Run("sh", "-c", "for d in veth0 more0 more50 more99; do tc filter show dev $d ingress; tc filter show dev $d egress; done")
	if strings.TrimSpace(left) != "" {
		t.Errorf("filters are left:\n%s", left)
	}
}
