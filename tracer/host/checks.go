// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ktrace/tracer/kallsyms"
)

// Check is one property of the machine that decides what works.
type Check struct {
	Name   string
	Found  string // its value, or an error's text
	OK     bool
	Impact string // what does not work, "" if OK
	Remedy string // "" if OK, or if there is none
}

// Checks checks all that decides whether programs load and which facts of the node can be read, but for the kernel's BTF. It
// needs no privileges and never fails: an error is a check with the error's text.
func Checks() []Check {
	checks := checkCapabilities()
	checks = append(checks, checkMemlock(), checkUnprivileged(), checkLockdown(), checkSELinux(), checkTracefs(), checkSymbols())
	return append(checks, checkNamespaces()...)
}

// CannotTell is a check whose source could not be read. It is OK: nothing is known to be wrong.
func CannotTell(name string, err error) Check { return Check{Name: name, Found: err.Error(), OK: true} }

// Kernel is the kernel's release and the machine's architecture.
func Kernel() Check {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return CannotTell("kernel", err)
	}
	found := unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Machine[:])
	return Check{Name: "kernel", Found: found, OK: true}
}

func checkCapabilities() []Check {
	set, err := effective()
	if err != nil {
		return []Check{CannotTell("capabilities", err)}
	}
	var checks []Check
	for _, c := range capabilities() {
		check := Check{Name: c.name, Found: "held", OK: c.held(set)}
		if !check.OK {
			check.Found, check.Impact = "missing", c.without
			check.Remedy = "run as root, or add it: securityContext.capabilities.add in a pod, --cap-add in a container"
		}
		checks = append(checks, check)
	}
	return checks
}

func checkMemlock() Check {
	c := Check{Name: "memlock limit", Found: "not in the way", OK: true}
	if Privileged() != nil {
		c.Found = "not checked: no map may be made here anyway"
		return c
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return CannotTell(c.Name, err)
	}
	if LiftMemlock() != nil { // nil where the limit does not count
		c.Found, c.OK = fmt.Sprintf("%d KiB, and not to be raised", limit.Cur>>10), false
		c.Impact = "maps and programs do not load: this kernel counts them against the limit"
		c.Remedy = "add CAP_SYS_RESOURCE, or set ulimit -l unlimited (LimitMEMLOCK=infinity in a systemd unit)"
	}
	return c
}

// checkUnprivileged reads who may use bpf(2). ktrace needs CAP_BPF with any value: tracing programs are always privileged.
func checkUnprivileged() Check {
	const name = "kernel.unprivileged_bpf_disabled"
	return checkFile(name, "/proc/sys/kernel/unprivileged_bpf_disabled", func(value string) Check {
		meaning := map[string]string{"0": "0: unprivileged users may load BPF programs", "1": "1: CAP_BPF only, until the next boot", "2": "2: CAP_BPF only"}
		if text, ok := meaning[value]; ok {
			value = text
		}
		return Check{Name: name, Found: value, OK: true}
	})
}

// checkLockdown reads the mode in brackets: "none [integrity] confidentiality". Reading kernel memory from BPF is
// among what confidentiality forbids (kernel 5.4, commit 9d1f8be5cf42, "bpf: Restrict bpf when kernel lockdown is in
// confidentiality mode").
func checkLockdown() Check {
	const name = "lockdown"
	return checkFile(name, "/sys/kernel/security/lockdown", func(value string) Check {
		_, value, _ = strings.Cut(value, "[")
		value, _, _ = strings.Cut(value, "]")
		c := Check{Name: name, Found: value, OK: value != "confidentiality"}
		if !c.OK {
			c.Impact = "BPF may not read kernel memory: no verb works but read"
			c.Remedy = "boot with lockdown=integrity"
		}
		return c
	})
}

const selinuxEnforce = "/sys/fs/selinux/enforce"

// checkSELinux reports whether SELinux enforces a policy. It refuses bpf(2) with EACCES, whatever the capabilities.
func checkSELinux() Check {
	const name = "SELinux"
	return checkFile(name, selinuxEnforce, func(value string) Check {
		if value != "1" {
			return Check{Name: name, Found: "permissive", OK: true}
		}
		return Check{Name: name, Found: "enforcing; a refusal shows below as \"permission denied\": " + selinuxRemedy, OK: true}
	})
}

func selinuxEnforces() bool {
	raw, err := os.ReadFile(selinuxEnforce)
	return err == nil && strings.TrimSpace(string(raw)) == "1"
}

// selinuxRemedy is for a process whose domain may not use BPF. spc_t is the type of super-privileged containers.
const selinuxRemedy = "run in a domain that may use bpf (seLinuxOptions.type: spc_t in a pod, --security-opt label=disable in a container)"

// checkFile is a check of one short file. Where it does not exist the kernel lacks the feature.
func checkFile(name, path string, judge func(value string) Check) Check {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Check{Name: name, Found: "not in this kernel, or not mounted", OK: true}
	}
	if err != nil {
		return CannotTell(name, err)
	}
	return judge(strings.TrimSpace(string(raw)))
}

func checkTracefs() Check {
	const name = "tracefs"
	err := WithTracefs(func() error { return nil })
	if err == nil {
		return Check{Name: name, Found: "mounted, or mounted when it is needed", OK: true}
	}
	return Check{
		Name: name, Found: err.Error(), Impact: "no tracepoint of the perf kind: hooks that have nothing else are off",
		Remedy: TracefsRemedy,
	}
}

// checkSymbols checks whether the kernel names functions by their addresses, or /proc/kallsyms has addresses
// (kernel.kptr_restrict).
func checkSymbols() Check {
	const name = "kernel symbols"
	if kallsyms.CanPrint() == nil {
		return Check{Name: name, Found: "named by the kernel", OK: true}
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return CannotTell(name, err)
	}
	defer f.Close()
	start := make([]byte, 1<<16)
	n, err := f.Read(start)
	if err != nil {
		return CannotTell(name, err)
	}
	for line := range strings.Lines(string(start[:n])) {
		if address, _, _ := strings.Cut(line, " "); strings.Trim(address, "0") != "" {
			return Check{Name: name, Found: "readable", OK: true}
		}
	}
	return Check{
		Name: name, Found: "addresses hidden", Impact: "drop shows no function names",
		Remedy: "add CAP_SYSLOG and set kernel.kptr_restrict to 0 or 1",
	}
}

// checkNamespaces checks whether this process sees the node's processes, and whether its capabilities count on the node.
func checkNamespaces() []Check {
	pid := checkNamespace("pid", firstPIDNamespace, Check{
		Name: "PID namespace", Impact: "processes that the kernel names cannot be looked up: pods are known by cgroup and address only",
		Remedy: "hostPID: true in a pod, --pid=host in a container",
	})
	user := checkNamespace("user", firstUserNamespace, Check{
		Name: "user namespace", Impact: "capabilities count for nothing on the node: no program loads, no verb works but read",
		Remedy: "run as the node's root: hostUsers: true in a pod, no rootless container",
	})
	return []Check{pid, user}
}

// checkNamespace is the check of one kind; own is its result in another namespace than the node's.
func checkNamespace(kind string, first uint32, own Check) Check {
	is, err := ownNamespace(kind, first)
	switch {
	case err != nil:
		return CannotTell(own.Name, err)
	case is:
		own.Found = "our own"
		return own
	}
	return Check{Name: own.Name, Found: "the node's", OK: true}
}
