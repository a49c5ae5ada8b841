// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Attacker is a user without privileges with namespaces of his own, where he is root: all that a pod, or a user of the node, can be.
type Attacker struct {
	t    testing.TB
	cmd  *exec.Cmd
	says *bufio.Reader
	goOn io.WriteCloser
}

// NewAttacker runs a script of sh as one, in new user, network and mount namespaces with lo up. It is over when the script ends, or
// the test. Where it runs "hold" the script prints what follows, and waits for Continue.
func NewAttacker(t testing.TB, script string) *Attacker {
	t.Helper()
	const begin = "ip link set lo up; hold() { echo \"$@\"; read _; }\n"
	c := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urnm", "sh", "-ec", begin+script)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	in, inErr := c.StdinPipe()
	if err := errors.Join(err, inErr); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
		_ = c.Wait() // killed, or it failed, which a line that is missing said
	})
	return &Attacker{t: t, cmd: c, says: bufio.NewReader(out), goOn: in}
}

// Await returns the next line that the script prints, which it must.
func (a *Attacker) Await() string {
	a.t.Helper()
	line, err := a.says.ReadString('\n')
	if err != nil {
		a.t.Fatalf("the attacker ended: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// Continue lets a script go on that holds.
func (a *Attacker) Continue() {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.goOn); err != nil {
		a.t.Fatal(err)
	}
}

// PID is the process that runs the script.
func (a *Attacker) PID() int { return a.cmd.Process.Pid }

// Netns is a file that stands for his network namespace.
func (a *Attacker) Netns() string { return fmt.Sprintf("/proc/%d/ns/net", a.PID()) }
