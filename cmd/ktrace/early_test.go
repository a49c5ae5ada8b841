// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// pseudoterminal is both ends of a terminal.
func pseudoterminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, program
}

// onTerminal starts ktrace on a terminal, and sends what it prints line by line.
func onTerminal(t *testing.T, args ...string) (lines <-chan string, status func() int) {
	t.Helper()
	screen, program := pseudoterminal(t)
	ready := filepath.Join(t.TempDir(), "ready")
	cmd := exec.Command("/proc/self/exe", append(args, "--ready-file", ready)...)
	cmd.Env = append(os.Environ(), lab.AsKtrace+"=1", "NO_COLOR=1")
	cmd.Stdout = program
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // has ended in a test that passed
	for _, err := os.Stat(ready); err != nil; _, err = os.Stat(ready) {
		time.Sleep(5 * time.Millisecond) // a file has no wait of its own
		if cmd.ProcessState != nil {
			t.Fatal(said.String())
		}
	}
	to := make(chan string, 1<<10)
	go func() {
		defer close(to)
		scan := bufio.NewScanner(screen) // which ends with an error when no process has the other end
		for scan.Scan() {
			to <- strings.TrimRight(scan.Text(), "\r")
		}
	}()
	return to, func() int {
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode()
	}
}

// portFiltered is a node that drops what goes to a server.
func portFiltered(t *testing.T, f stack) (p *lab.Pod, traffic func()) {
	c := lab.NewCluster(t)
	p = c.AddPod("pod")
	web(t, c, p)
	c.Node.Run(nftRule("forward", "tcp dport 80 counter drop")...)
	return p, func() { fetch(p.NS, net.JoinHostPort(f.server, "80"), patience) }
}

// TestDiagnoseReportsToATerminalAtOnce what is certain, and at the end once more in short; a pipe has all at the end, once.
func TestDiagnoseReportsToATerminalAtOnce(t *testing.T) {
	t.Parallel()
	const whole = 10 * time.Second
	for _, f := range stacks() {
		t.Run(f.name+" terminal", func(t *testing.T) {
			t.Parallel()
			p, traffic := portFiltered(t, f)
			lines, status := onTerminal(t, "diagnose", "--duration", whole.String(), "--netns", p.Path())
			begun := time.Now()
			traffic()
			var first time.Duration
			var all []string
			for l := range lines {
				if all = append(all, l); strings.HasPrefix(l, "CRITICAL netfilter-drop") && first == 0 {
					first = time.Since(begun)
				}
			}
			text := strings.Join(all, "\n")
			if first == 0 || first > whole*2/3 {
				t.Errorf("reported after %v of %v", first, whole)
			}
			if n := strings.Count(text, "CRITICAL netfilter-drop"); n != 2 || strings.Count(text, "cause ") != 1 || !strings.Contains(text, "so far") {
				t.Errorf("reported %d times:\n%s", n, text)
			}
			if s := status(); s != 3 {
				t.Errorf("status %d, want 3", s)
			}
			t.Logf("reported after %v of %v", first, whole)
		})
		t.Run(f.name+" pipe", func(t *testing.T) {
			t.Parallel()
			p, traffic := portFiltered(t, f)
			run := lab.Ktrace(t, "diagnose", "--duration", "6s", "--netns", p.Path())
			traffic()
			lines, status := run.Wait()
			if found := lab.Findings(lines); len(found) != 1 || status != 3 {
				t.Errorf("status %d, %d findings, want one", status, len(found))
			}
		})
	}
}

// TestDiagnoseEndsWhenItIsCertain, and not before: a healthy node is watched to the end.
func TestDiagnoseEndsWhenItIsCertain(t *testing.T) {
	t.Parallel()
	for _, f := range stacks() {
		t.Run(f.name+" broken", func(t *testing.T) {
			t.Parallel()
			p, traffic := portFiltered(t, f)
			run := lab.Ktrace(t, "diagnose", "--until-certain", "--duration", "1h", "--netns", p.Path())
			traffic()
			lines, status := run.Wait()
			found := lab.Findings(lines)
			if len(found) != 1 || found[0].ID != "netfilter-drop" || status != 3 {
				t.Errorf("status %d, found %s", status, found)
			}
		})
		t.Run(f.name+" healthy", func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			web(t, c, p)
			run := lab.Ktrace(t, "diagnose", "--until-certain", "--duration", "3s", "--netns", p.Path())
			begun := time.Now()
			fetch(p.NS, net.JoinHostPort(f.server, "80"), unhurried)
			lines, status := run.Wait()
			if took := time.Since(begun); status != 0 || took < 2*time.Second {
				t.Errorf("status %d after %v: %s", status, took, lab.Findings(lines))
			}
		})
	}
}
