// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ktrace/cmd/internal/replay"
	"ktrace/testdata/lab"
)

// extcap runs the verb in this process as Wireshark asks.
func extcap(t *testing.T, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	root := newRoot(replay.Streams{Out: &out, Err: &said})
	root.SetArgs(append([]string{"extcap"}, args...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	return out.String()
}

func TestWiresharkFindsPodsAsInterfaces(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	k := lab.NewKubelet(t)
	p := c.AddPod("a")
	k.Pod("default", "web-0").Start("app", p.NS, "sleep", "600").Await()
	list := extcap(t, "--extcap-interfaces", "--extcap-version=4.0", "--host-root", k.Root)
	for _, line := range []string{"interface {value=ktrace-node}", "interface {value=ktrace-pod:default/web-0}{display=ktrace: pod default/web-0}"} {
		if !strings.Contains(list, line) {
			t.Errorf("no %s in\n%s", line, list)
		}
	}
	if dlts := extcap(t, "--extcap-dlts", "--extcap-interface", "ktrace-node"); !strings.Contains(dlts, "{number=1}") {
		t.Errorf("link types %q", dlts)
	}
	if why := extcap(t, "--extcap-interface", "ktrace-node", "--extcap-capture-filter", "tcp port"); !strings.Contains(why, "column") {
		t.Errorf("a bad filter is %q", why)
	}
	if why := extcap(t, "--extcap-interface", "ktrace-node", "--extcap-capture-filter", "tcp port 80"); why != "" {
		t.Errorf("a good filter is %q", why)
	}

	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	shark := exec.Command("tshark", "-l", "-i", fifo, "-c", "1", "-T", "fields", "-e", "frame.interface_name")
	var out bytes.Buffer
	shark.Stdout = &out
	if err := shark.Start(); err != nil {
		t.Fatal(err)
	}
	run := lab.StartKtrace(t, "extcap", "--capture", "--extcap-interface", "ktrace-pod:default/web-0", "--extcap-capture-filter", "icmp",
		"--fifo", fifo, "--host-root", k.Root)
	p.Start("ping", "-q", "-i", "0.01", lab.ServerAddr)
	if err := shark.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != "eth0@default/web-0" {
		t.Errorf("tshark's first packet came from %q", got)
	}
	run.Stop()
}

// TestTsharkCapturesAtAPodByItsName goes the user's way: the script that the help shows is in the extcap directory.
func TestTsharkCapturesAtAPodByItsName(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	k := lab.NewKubelet(t)
	p := c.AddPod("a")
	k.Pod("default", "web-0").Start("app", p.NS, "sleep", "600")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s extcap --host-root %s \"$@\"\n", lab.AsKtrace, self, k.Root)
	if err := os.WriteFile(filepath.Join(dir, "ktrace"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	shark := func(args ...string) string { // with the directory in the place of the global one, as nobody else sees it
		return tool(t, append([]string{"unshare", "-m", "sh", "-c", `mount --bind "$0" "$(tshark -G folders | sed -n 's/^Extcap path:[[:space:]]*//p')" && exec tshark "$@"`, dir}, args...)...)
	}
	if list := shark("-D"); !strings.Contains(list, " ktrace-pod:default/web-0 (ktrace: pod default/web-0)\n") {
		t.Fatalf("tshark lists\n%s", list)
	}
	p.Start("ping", "-q", "-i", "0.01", lab.ServerAddr)
	p.Start("ping", "-q", "-i", "0.01", lab.UplinkAddr)
	got := shark("-i", "ktrace-pod:default/web-0", "-f", "icmp and host "+lab.ServerAddr, "-c", "10",
		"-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment")
	if strings.Count(got, "eth0@default/web-0\tpod=default/web-0\n") != 10 {
		t.Errorf("tshark captures\n%s", got)
	}
}

func TestProfileUsesFieldsThatWiresharkHas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	extcap(t, "--wireshark-profile", dir)
	colours, err := os.ReadFile(filepath.Join(dir, "colorfilters"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(colours)), "\n") {
		tool(t, "tshark", "-r", filepath.Join(captures, "dumpcap.pcapng"), "-Y", strings.Split(line, "@")[2])
	}
}
