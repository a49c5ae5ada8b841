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
	var lost []string
	for _, c := range capabilities() {
		if slices.Contains(m.Names, c.name) {
			lost = append(lost, c.name+": "+c.without)
		}
	}
	return fmt.Sprintf("missing %s: run as root, or in a container with these capabilities added (%s)", strings.Join(m.Names, ", "), strings.Join(lost, "; "))
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
		{BPF, unix.CAP_BPF, true, true, "no program loads: no verb works but read"},
		{Perfmon, unix.CAP_PERFMON, true, true, "no program that traces loads: no verb works but read"},
		{NetAdmin, unix.CAP_NET_ADMIN, false, false,
			"capture cannot attach, nor what explains TLS handshakes and DNS over TCP; rules and connections of netfilter are not read, so dns, nat and drop know fewer causes"},
		{NetRaw, unix.CAP_NET_RAW, false, false, "rules of iptables-legacy are not read: what they translate and drop is not named"},
		{SysAdmin, unix.CAP_SYS_ADMIN, false, false,
			"other network namespaces cannot be entered: capture takes packets of its own only; devices, routes and rules in pods are not known; " +
				"syncs of file systems other than ext4 are not seen where kernel.perf_event_paranoid is 3"},
		{SysPtrace, unix.CAP_SYS_PTRACE, false, false,
			"processes' namespaces cannot be looked up: pods are known by cgroup and address only"},
		{DACReadSearch, unix.CAP_DAC_READ_SEARCH, false, false,
			"environments and files of other users' processes are not read, nor which programs control groups have: services are known by fewer names"},
		{Syslog, unix.CAP_SYSLOG, false, false,
			"addresses of kernel functions may be hidden: drop shows no function names"},
	}
}

func (c capability) held(set uint64) bool {
	return set&(1<<c.bit) != 0 || c.admin && set&(1<<unix.CAP_SYS_ADMIN) != 0
}

// Capabilities, by the names that people give them.
const (
	BPF           = "CAP_BPF"
	Perfmon       = "CAP_PERFMON"
	NetAdmin      = "CAP_NET_ADMIN" // attaches programs to devices and sockets, and reads rules
	NetRaw        = "CAP_NET_RAW"   // reads rules of iptables-legacy
	SysAdmin      = "CAP_SYS_ADMIN"
	SysPtrace     = "CAP_SYS_PTRACE"
	DACReadSearch = "CAP_DAC_READ_SEARCH"
	DACOverride   = "CAP_DAC_OVERRIDE" // writes files where other users may write
	Fowner        = "CAP_FOWNER"       // replaces files of other users
	Syslog        = "CAP_SYSLOG"
)

// Set returns capabilities as a bit mask.
func Set(names ...string) uint64 {
	set := uint64(0)
	for _, c := range capabilities() {
		if slices.Contains(names, c.name) {
			set |= 1 << c.bit
		}
	}
	for name, bit := range map[string]uint{DACOverride: unix.CAP_DAC_OVERRIDE, Fowner: unix.CAP_FOWNER} {
		if slices.Contains(names, name) {
			set |= 1 << bit
		}
	}
	return set
}

// Lacks returns, of these capabilities, those that the process does without, each with what is lost by that.
func Lacks(names ...string) []string {
	set, err := effective()
	if err != nil {
		return nil
	}
	var all []string
	for _, c := range capabilities() {
		if !slices.Contains(names, c.name) || c.held(set) || c.name == Syslog && checkSymbols().OK {
			continue
		}
		all = append(all, "without "+c.name+", "+c.without)
	}
	return all
}

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
