// SPDX-License-Identifier: Apache-2.0

// Package host checks what the kernel, the machine and the process's privileges allow: capabilities, lockdown, SELinux,
// memlock, tracefs, namespaces.
package host

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// ErrMemlock is returned when a map or program exceeds the memlock limit, on kernels before 5.11.
var ErrMemlock = errors.New("the memlock limit is too low: this kernel counts BPF maps against it; " +
	"add CAP_SYS_RESOURCE, or set ulimit -l unlimited (LimitMEMLOCK=infinity in a systemd unit)")

// MissingCapabilities is returned when the process lacks capabilities that tracing needs.
type MissingCapabilities struct{ Names []string }

// Error implements error.
func (m MissingCapabilities) Error() string {
	return fmt.Sprintf("missing %s: run as root, or in a container with these capabilities added", strings.Join(m.Names, ", "))
}

// ErrUserNamespace is returned in another user namespace than the node's first, as in a rootless container.
var ErrUserNamespace = errors.New("in a user namespace of its own, whose capabilities count for nothing on the node: " +
	"run as the node's root, not in a rootless container, and in a pod with hostUsers: true")

// capability is one that a part of ktrace needs. CAP_BPF and CAP_PERFMON exist since 5.8 (commit a17b53c4a4b5, "bpf,
// capability: Introduce CAP_BPF"); CAP_SYS_ADMIN implies them.
type capability struct {
	name     string
	bit      uint
	admin    bool   // CAP_SYS_ADMIN implies it
	required bool   // every live verb needs it
	without  string // impact where it is missing
}

func capabilities() []capability {
	return []capability{
		{"CAP_BPF", unix.CAP_BPF, true, true, "no program loads: no verb works but read"},
		{"CAP_PERFMON", unix.CAP_PERFMON, true, true, "no program that traces loads: no verb works but read"},
		{NetAdmin, unix.CAP_NET_ADMIN, false, false,
			"capture cannot attach, nor what explains TLS handshakes and DNS over TCP; rules and connections of netfilter are not read, so dns, nat and drop know fewer causes"},
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN, false, false,
			"other network namespaces cannot be entered: capture takes packets of its own only; devices, routes and rules in pods are not known"},
		{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE, false, false,
			"processes' namespaces cannot be looked up: pods are known by cgroup and address only"},
		{"CAP_SYSLOG", unix.CAP_SYSLOG, false, false,
			"addresses of kernel functions may be hidden: drop shows no function names"},
	}
}

func (c capability) held(set uint64) bool {
	return set&(1<<c.bit) != 0 || c.admin && set&(1<<unix.CAP_SYS_ADMIN) != 0
}

// NetAdmin is the capability for attaching programs to devices.
const NetAdmin = "CAP_NET_ADMIN"

// Privileged checks that the process has the capabilities that every live verb needs, and those in also. Errors are
// MissingCapabilities and ErrUserNamespace.
func Privileged(also ...string) error {
	set, err := effective()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range capabilities() {
		if (c.required || slices.Contains(also, c.name)) && !c.held(set) {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return MissingCapabilities{Names: missing}
	}
	if own, err := ownNamespace("user", firstUserNamespace); err == nil && own {
		return ErrUserNamespace
	}
	return nil
}

// The first namespaces of a machine have fixed inodes: PROC_USER_INIT_INO and PROC_PID_INIT_INO of
// include/linux/proc_ns.h.
const (
	firstUserNamespace = 0xeffffffd
	firstPIDNamespace  = 0xeffffffc
)

// ownNamespace reports whether this process is in another namespace than the machine's first. kind is "user" or "pid".
func ownNamespace(kind string, first uint32) (bool, error) {
	ns, err := os.Readlink("/proc/self/ns/" + kind)
	if err != nil {
		return false, err
	}
	return ns != fmt.Sprintf("%s:[%d]", kind, first), nil
}

// LiftMemlock raises the memlock limit where maps and programs count against it, that is before 5.11. Whether they do is
// found by creating a map, so it returns nil without the privileges for that.
func LiftMemlock() error {
	if err := rlimit.RemoveMemlock(); err != nil && Privileged() == nil {
		return err
	}
	return nil
}

// effective returns the set of capabilities in force, as a bit mask.
func effective() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32, nil
}
