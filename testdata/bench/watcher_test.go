// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// watcher is what runs beside a load.
type watcher struct {
	name  string
	start func(t *testing.T) running
}

// running is a watcher that has attached.
type running interface {
	pid() int // of the process that has its programs
	stop(t *testing.T) usage
}

// usage is what a watcher took, its start included.
type usage struct {
	attach time.Duration
	cpu    time.Duration
	rss    int64 // bytes, at the most
}

const (
	nothing = "nothing"
	empty   = "empty program"
)

func watchers(n *network, ktrace string) []watcher {
	verb := func(name string, args ...string) watcher {
		return watcher{name, func(t *testing.T) running { return startKtrace(t, ktrace, args...) }}
	}
	other := "tcp port 81" // that no load has
	return []watcher{
		{nothing, func(*testing.T) running { return idle{} }},
		{empty, startEmpty},
		verb("dns", "dns"), verb("drop", "drop"), verb("reset", "reset"), verb("mtu", "mtu"), verb("nat", "nat"),
		verb("diagnose", "diagnose", "-d", "1m"),
		verb("capture other", "capture", "--netns", n.pod.Path(), "-w", os.DevNull, other),
		verb("capture all", "capture", "--netns", n.pod.Path(), "-w", os.DevNull),
		{"tcpdump other", func(t *testing.T) running { return startTcpdump(t, n, other) }},
		{"tcpdump all", func(t *testing.T) running { return startTcpdump(t, n, "") }},
	}
}

type idle struct{}

func (idle) pid() int { return os.Getpid() }

func (idle) stop(*testing.T) usage { return usage{} }

// process is a watcher that is a program. SIGINT ends it.
type process struct {
	cmd    *exec.Cmd
	attach time.Duration
	said   bytes.Buffer
}

func startKtrace(t *testing.T, ktrace string, args ...string) running {
	ready := filepath.Join(t.TempDir(), "ready")
	p := &process{cmd: exec.Command(ktrace, append(args, "--ready-file", ready)...)}
	p.cmd.Stderr = &p.said
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for ; ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			p.attach = time.Since(began)
			return p
		}
		if time.Since(began) > time.Minute {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
			t.Fatalf("ktrace %v is not ready:\n%s", args, &p.said)
		}
	}
}

func startTcpdump(t *testing.T, n *network, filter string) running {
	p := &process{cmd: exec.Command("ip", "netns", "exec", n.pod.Name, "tcpdump", "-ni", "eth0", "-w", os.DevNull, filter)}
	said, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if strings.Contains(lines.Text(), "listening on") {
			p.attach = time.Since(began)
			return p
		}
		fmt.Fprintln(&p.said, lines.Text())
	}
	t.Fatalf("tcpdump: %s", &p.said)
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) stop(t *testing.T) usage {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	err := p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 && code != exitFindings {
		t.Errorf("%v: %v\n%s", p.cmd.Args, err, &p.said)
	}
	took := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return usage{p.attach, p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), took.Maxrss << 10}
}

// exitFindings is what diagnose ends with where it found something. No finding is wrong here for all loads: a reset is one.
const exitFindings = 3
