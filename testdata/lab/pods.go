// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Kubelet leaves on this machine what a kubelet and a container runtime leave on a node: control groups, in every
// hierarchy that is mounted here, and log directories. The control groups are the machine's own, so the kernel reports
// of them as of real ones; the logs are below Root, which ktrace takes as --host-root.
type Kubelet struct {
	t    testing.TB
	Root string
	made int // pods and containers, for names that no other has
}

// KubePod is a pod that a Kubelet made. Its processes are real.
type KubePod struct {
	k                    *Kubelet
	Namespace, Name, UID string
	cgroup               string // within a hierarchy
}

// NewKubelet returns a kubelet without pods.
func NewKubelet(t testing.TB) *Kubelet {
	t.Helper()
	const room = 1 << 8 // for what one makes
	return &Kubelet{t: t, Root: hostRoot(t), made: int(hash(t.Name())%(1<<24)) * room}
}

// hostRoot is a folder for --host-root that has the machine's own /sys and /proc. Its path is short enough for sockets
// below it, which t.TempDir's is not.
func hostRoot(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp("", "kt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	for link, target := range map[string]string{"sys": "/sys", "proc": "/proc"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Pod makes a pod of the class best effort, as a kubelet with the cgroupfs driver does.
func (k *Kubelet) Pod(namespace, name string) *KubePod {
	k.made++
	return k.add(namespace, name, fmt.Sprintf("%08x-0000-4000-8000-%012x", os.Getpid(), k.made))
}

// StaticPod makes a pod that no API server knows: its UID is the hash of its manifest.
func (k *Kubelet) StaticPod(namespace, name string) *KubePod {
	k.made++
	return k.add(namespace, name, fmt.Sprintf("%024x%08x", os.Getpid(), k.made))
}

func (k *Kubelet) add(namespace, name, uid string) *KubePod {
	k.t.Helper()
	p := &KubePod{k: k, Namespace: namespace, Name: name, UID: uid, cgroup: "kubepods/besteffort/pod" + uid}
	if err := os.MkdirAll(p.logs(), 0o755); err != nil {
		k.t.Fatal(err)
	}
	k.mkdir(p.cgroup)
	return p
}

// Cgroup2 is the directory of its control group in the hierarchy that programs are attached to.
func (p *KubePod) Cgroup2() string {
	p.k.t.Helper()
	for _, root := range hierarchies() {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
			return filepath.Join(root, p.cgroup)
		}
	}
	p.k.t.Fatal("cgroup2 is not mounted")
	return ""
}

func (p *KubePod) logs() string {
	return filepath.Join(p.k.Root, "var/log/pods", p.Namespace+"_"+p.Name+"_"+p.UID)
}

// hierarchies are the roots of the control groups that a runtime would use on this machine.
func hierarchies() []string {
	roots := []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		return []string{"/sys/fs/cgroup"}
	}
	var there []string
	for _, r := range roots {
		if _, err := os.Stat(filepath.Join(r, "cgroup.procs")); err == nil {
			there = append(there, r)
		}
	}
	return there
}

// mkdir makes a control group, and has it removed, with those above it that are empty then, when the test ends.
func (k *Kubelet) mkdir(path string) {
	k.t.Helper()
	for _, root := range hierarchies() {
		dir := filepath.Join(root, path)
		err := os.MkdirAll(dir, 0o755)
		for errors.Is(err, os.ErrNotExist) { // another test's end has removed one above it meanwhile
			err = os.MkdirAll(dir, 0o755)
		}
		if err != nil {
			k.t.Fatal(err)
		}
		k.t.Cleanup(func() {
			for ; dir != root; dir = filepath.Dir(dir) {
				if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
					return // another test's pods are in it
				}
			}
		})
	}
}

// Delegate makes a control group that belongs to a user, as systemd makes one for a session or a service with Delegate=yes.
func (k *Kubelet) Delegate(path string, uid int) {
	k.t.Helper()
	k.mkdir(path)
	for _, root := range hierarchies() {
		if err := os.Chown(filepath.Join(root, path), uid, uid); err != nil {
			k.t.Fatal(err)
		}
	}
}

// Cgroup makes a control group, as a user.
func (k *Kubelet) Cgroup(path string, uid int) {
	k.t.Helper()
	args := []string{"-p"}
	for _, root := range hierarchies() {
		args = append(args, filepath.Join(root, path))
	}
	mkdir := exec.Command("mkdir", args...)
	mkdir.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	if out, err := mkdir.CombinedOutput(); err != nil {
		k.t.Fatalf("mkdir %v: %v: %s", args, err, out)
	}
	k.mkdir(path) // is there; removed at the end
}

// Rmdir removes a control group.
func (k *Kubelet) Rmdir(path string) {
	k.t.Helper()
	for _, root := range hierarchies() {
		if err := syscall.Rmdir(filepath.Join(root, path)); err != nil {
			k.t.Error(err)
		}
	}
}

// Container is a container of a pod that a Kubelet made.
type Container struct {
	pod      *KubePod
	Name, ID string
	program  string
	cgroup   string
	cmd      *exec.Cmd
	gone     bool
}

// Start runs a command as a container of the pod, in a network namespace, or the machine's own if ns is nil. As with a
// runtime, its process is moved into the control group first, joins the namespace then, and executes the command last.
func (p *KubePod) Start(name string, ns *NS, args ...string) *Container {
	p.k.t.Helper()
	p.k.made++
	c := &Container{pod: p, Name: name, ID: fmt.Sprintf("%056x%08x", os.Getpid(), p.k.made)}
	c.cgroup = p.cgroup + "/" + c.ID
	c.program = args[0]
	p.k.mkdir(c.cgroup)
	p.k.link(c)
	if ns != nil {
		args = ns.args(args)
	}
	const enter = `for c in $CGROUPS; do echo $$ >$c/cgroup.procs || exit; done; exec "$@"`
	c.cmd = exec.Command("sh", append([]string{"-c", enter, "sh"}, args...)...)
	var dirs []string
	for _, root := range hierarchies() {
		dirs = append(dirs, filepath.Join(root, c.cgroup))
	}
	c.cmd.Env = append(os.Environ(), "CGROUPS="+strings.Join(dirs, " "))
	if err := c.cmd.Start(); err != nil {
		p.k.t.Fatalf("%v: %v", args, err)
	}
	p.k.t.Cleanup(c.Stop)
	return c
}

// Await waits until the container's program runs, where it is to run: its process begins as a shell outside.
func (c *Container) Await() *Container {
	t := c.pod.k.t
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.cmd.Process.Pid))
		if err == nil && filepath.Base(exe) == filepath.Base(c.program) {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("container %s runs %s after %v, not %s", c.Name, exe, patience, c.program)
		}
		time.Sleep(time.Millisecond) // an exec has no wait of its own
	}
}

// Nest makes a control group inside the container's, as systemd or docker in a container does; the function that it
// returns removes it.
func (c *Container) Nest(path string) (remove func()) {
	c.pod.k.t.Helper()
	c.pod.k.mkdir(c.cgroup + "/" + path)
	return func() {
		for _, root := range hierarchies() {
			for p := path; p != "."; p = filepath.Dir(p) {
				if err := syscall.Rmdir(filepath.Join(root, c.cgroup, p)); err != nil {
					c.pod.k.t.Error(err)
				}
			}
		}
	}
}

// link makes the link that the kubelet makes below /var/log/containers.
func (k *Kubelet) link(c *Container) {
	k.t.Helper()
	dir := filepath.Join(k.Root, "var/log/containers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		k.t.Fatal(err)
	}
	name := fmt.Sprintf("%s_%s_%s-%s.log", c.pod.Name, c.pod.Namespace, c.Name, c.ID)
	if err := os.Symlink("nowhere", filepath.Join(dir, name)); err != nil {
		k.t.Fatal(err)
	}
}

// Wait waits for the container's end and removes its control groups.
func (c *Container) Wait() {
	c.pod.k.t.Helper()
	c.gone = true
	if err := c.cmd.Wait(); err != nil {
		c.pod.k.t.Errorf("container %s: %v", c.Name, err)
	}
	c.rmdir()
}

// Stop kills the container and removes its control groups.
func (c *Container) Stop() {
	c.pod.k.t.Helper()
	if c.gone {
		return
	}
	c.gone = true
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.pod.k.t.Error(err)
	}
	_ = c.cmd.Wait() // killed
	c.rmdir()
}

func (c *Container) rmdir() {
	for _, root := range hierarchies() {
		if err := syscall.Rmdir(filepath.Join(root, c.cgroup)); err != nil {
			c.pod.k.t.Errorf("%s: %v", c.cgroup, err)
		}
	}
}

// PID is that of the container's process.
func (c *Container) PID() int { return c.cmd.Process.Pid }

// Remove ends the pod; its containers must have.
func (p *KubePod) Remove() {
	p.k.t.Helper()
	for _, root := range hierarchies() {
		if err := syscall.Rmdir(filepath.Join(root, p.cgroup)); err != nil {
			p.k.t.Errorf("%s: %v", p.cgroup, err)
		}
	}
}
