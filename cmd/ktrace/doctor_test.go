// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"ktrace/testdata/lab"
)

// doctor runs "ktrace doctor" under conditions that a shell sets.
func doctor(t *testing.T, conditions string, args ...string) (checks map[string]doctorCheck, hooks map[string]doctorHook) {
	t.Helper()
	lines, status := lab.KtraceUnder(t, conditions, append([]string{"doctor", "-o", "json"}, args...)...).Wait()
	if status != 0 {
		t.Errorf("%s: doctor failed with %d", conditions, status)
	}
	checks, hooks = map[string]doctorCheck{}, map[string]doctorHook{}
	for _, l := range lines {
		switch l.Type {
		case "check":
			var c doctorCheck
			l.Into(t, &c)
			checks[c.Name] = c
		case "hook":
			var h doctorHook
			l.Into(t, &h)
			hooks[h.Probe+": "+h.Hook] = h
		}
	}
	if len(checks) == 0 || len(hooks) == 0 {
		t.Fatalf("%s: %d checks, %d hooks", conditions, len(checks), len(hooks))
	}
	return checks, hooks
}

// withoutSys hides a part of /sys from the command.
func withoutSys(dirs ...string) string {
	var b strings.Builder
	for _, d := range dirs {
		b.WriteString("if [ -d " + d + " ]; then mount -t tmpfs none " + d + "; fi && ")
	}
	return "exec unshare -m sh -c '" + b.String() + `exec "$@"' sh "$@"`
}

const cgroups = "cgroup: cgroup lifecycle"

func TestDoctorReportsWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, conditions string
		missing          []string // checks that are not all right, each with its cost and remedy
		loads            bool
	}{
		{"as root", `exec "$@"`, nil, true},
		{"with nothing but CAP_BPF and CAP_PERFMON", `exec setpriv --bounding-set=-all,+bpf,+perfmon,+sys_resource "$@"`,
			[]string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYSLOG"}, true},
		{"without CAP_PERFMON", `exec setpriv --bounding-set=-all,+bpf,+net_admin,+sys_resource "$@"`,
			[]string{"CAP_PERFMON"}, false},
		{"with no capability", `exec setpriv --bounding-set=-all "$@"`, []string{"CAP_BPF", "CAP_PERFMON"}, false},
		{"without BTF", withoutSys("/sys/kernel/btf"), []string{"kernel types (BTF)"}, false},
		{"without tracefs", withoutSys("/sys/kernel/tracing", "/sys/kernel/debug"), nil, true},
		{"without tracefs and CAP_SYS_ADMIN", strings.Replace(withoutSys("/sys/kernel/tracing", "/sys/kernel/debug"), `exec "$@"'`, `exec setpriv --bounding-set=-sys_admin "$@"'`, 1),
			[]string{"tracefs"}, true},
		{"with a read-only /sys", `exec unshare -m sh -c 'mount -o remount,bind,ro /sys && exec "$@"' sh "$@"`, nil, true},
		{"in a user namespace", `exec unshare -Ur "$@"`, []string{"user namespace"}, false},
		{"in a PID namespace", `exec unshare -p -f --mount-proc "$@"`, []string{"PID namespace"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checks, hooks := doctor(t, tt.conditions)
			if c := checks["memlock limit"]; !c.OK && !kernelHas(t, "bpf_map_charge_init") {
				t.Errorf("the limit does not count here: %+v", c)
			}
			for _, name := range tt.missing {
				if c := checks[name]; c.OK || c.Found == "" || c.Impact == "" || c.Remedy == "" {
					t.Errorf("%s: %+v", name, c)
				}
			}
			if c, h := checks["tracefs"], hooks["fsync: fsync and fdatasync syscalls"]; tt.loads && !c.OK &&
				(h.Variant != "" || !strings.Contains(h.Refusals[0].Error, c.Remedy)) {
				t.Errorf("without tracefs: %+v, want what helps: %s", h, c.Remedy)
			}
			switch h := hooks[cgroups]; {
			case tt.loads && h.Variant == "":
				t.Errorf("nothing loads: %+v", h)
			case !tt.loads && (h.Variant != "" || len(h.Refusals) == 0 || h.Refusals[0].Error == ""):
				t.Errorf("loads, or does not say why not: %+v", h)
			}
		})
	}
}

// few is what is recommended where root is not to be had. Before 5.11 CAP_SYS_RESOURCE, or a memlock limit that somebody
// has raised, comes in addition.
const few = `ulimit -l unlimited 2>/dev/null; exec setpriv --bounding-set=-all,+bpf,+perfmon,+net_admin "$@"`

func TestVerbsWorkWithFewCapabilities(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	own, other := n.Namespace("own"), n.Namespace("other")
	inOwn := "exec nsenter --net=" + own.Path() + " sh -c '" + few + `' sh "$@"`
	verbs := []string{"fsync", "capture", "diagnose", "dns", "drop", "reset", "nat", "mtu"}
	if testing.Short() { // where a kernel is emulated
		verbs = verbs[:3] // which have all programs among them
	}
	for _, verb := range verbs {
		t.Run(verb, func(t *testing.T) {
			run := lab.KtraceUnder(t, inOwn, verb, "-d", "10ms", "-o", "json")
			lines, status := run.Wait()
			if verb == "fsync" && status == 1 && paranoid(t) > 2 { // and there is a file system whose syncs system calls show
				if !strings.Contains(run.Stderr(), "perf_event_paranoid=2") {
					t.Errorf("no remedy: %s", run.Stderr())
				}
				return
			}
			if status != 0 && status != 3 || len(lines) == 0 { // others on this machine may have trouble
				t.Errorf("status %d, %d lines\n%s", status, len(lines), run.Stderr())
			}
		})
	}
	run := lab.KtraceUnder(t, inOwn, "capture", "--netns", other.Path(), "-d", "10ms")
	if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), "CAP_SYS_ADMIN") {
		t.Errorf("capture in another namespace: status %d, %q", status, run.Stderr())
	}
}

// paranoid is how much perf_event_open asks for.
func paranoid(t *testing.T) (level int) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(text), &level); err != nil {
		t.Fatal(err)
	}
	return level
}

// kernelHas is whether the kernel has a function.
func kernelHas(t *testing.T, function string) bool {
	t.Helper()
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(symbols), " "+function+"\n")
}

func TestDoctorReportsMemlockWhereItCounts(t *testing.T) {
	t.Parallel()
	const low = `ulimit -l 64; exec setpriv --bounding-set=-sys_resource "$@"`
	checks, hooks := doctor(t, low)
	c, h := checks["memlock limit"], hooks[cgroups]
	// Not since 5.11 (commit 97306be45fbe, "bpf: Switch to memcg-based memory accounting").
	if !kernelHas(t, "bpf_map_charge_init") {
		if !c.OK || h.Variant == "" {
			t.Errorf("the limit does not count here: %+v, %+v", c, h)
		}
		return
	}
	if c.OK || c.Impact == "" || !strings.Contains(c.Remedy, "CAP_SYS_RESOURCE") {
		t.Errorf("%+v", c)
	}
	if h.Variant != "" || !strings.Contains(h.Refusals[0].Error, "CAP_SYS_RESOURCE") {
		t.Errorf("%+v", h)
	}
}

func TestDoctorReportsDropReasonsWhereTheyAre(t *testing.T) {
	t.Parallel()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var reasons *btf.Enum
	there := kernel.TypeByName("skb_drop_reason", &reasons) == nil
	checks, _ := doctor(t, `exec "$@"`)
	if c := checks["drop reasons"]; c.OK != there || !there && (c.Impact == "" || c.Remedy == "") {
		t.Errorf("the kernel has them: %v, reported %+v", there, c)
	}
}

func TestDoctorReportsSELinuxInForce(t *testing.T) {
	t.Parallel()
	const hidden = "exec unshare -m sh -c 'mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && echo %s >/sys/fs/selinux/enforce && exec \"$@\"' sh \"$@\""
	for enforce, want := range map[string]string{"1": "permission denied", "0": "permissive"} {
		checks, _ := doctor(t, fmt.Sprintf(hidden, enforce))
		if c := checks["SELinux"]; !strings.Contains(c.Found, want) {
			t.Errorf("enforce %s: %+v, want %q", enforce, c, want)
		}
	}
}

// TestDoctorReportsWhatIsSetUntilTheNextBoot changes the kernel for good, so it wants one that is thrown away afterwards.
func TestDoctorReportsWhatIsSetUntilTheNextBoot(t *testing.T) {
	if os.Getenv("KTRACE_TEST_LAST") == "" {
		t.Skip("locks the kernel down for good: testdata/vm/guest runs it last, in a VM")
	}
	const unprivileged, lockdown = "kernel.unprivileged_bpf_disabled", "/sys/kernel/security/lockdown"
	for _, value := range []string{"0", "2", "1"} { // 1 is for good
		if err := os.WriteFile("/proc/sys/kernel/unprivileged_bpf_disabled", []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		checks, hooks := doctor(t, `exec "$@"`)
		if c, h := checks[unprivileged], hooks[cgroups]; !strings.HasPrefix(c.Found, value+": ") || h.Variant == "" {
			t.Errorf("%s set to %s: %+v, %+v", unprivileged, value, c, h)
		}
		_, hooks = doctor(t, `exec setpriv --bounding-set=-all "$@"`)
		if h := hooks[cgroups]; h.Variant != "" {
			t.Errorf("%s set to %s: loads without capabilities", unprivileged, value)
		}
	}
	for _, mode := range []string{"integrity", "confidentiality"} {
		if err := os.WriteFile(lockdown, []byte(mode), 0); err != nil {
			t.Fatal(err)
		}
		checks, hooks := doctor(t, `exec "$@"`)
		c, h := checks["lockdown"], hooks["path: packet drop"]
		if locked := mode == "confidentiality"; c.Found != mode || c.OK == locked || (h.Variant == "") != locked || locked && c.Remedy == "" {
			t.Errorf("%+v, %+v", c, h)
		}
	}
	run := lab.KtraceUnder(t, `exec "$@"`, "drop", "-d", "1s")
	if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), "lockdown") {
		t.Errorf("drop in confidentiality mode: status %d, %q", status, run.Stderr())
	}
}

func TestTypesFromAFileServeWhereTheKernelReportsNone(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/vmlinux.btf"
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	checks, hooks := doctor(t, withoutSys("/sys/kernel/btf"), "--btf", file)
	if c := checks["kernel types (BTF)"]; !c.OK || c.Found != file {
		t.Errorf("%+v", c)
	}
	if h := hooks[cgroups]; h.Variant == "" {
		t.Errorf("%+v", h)
	}
}

func TestVerbNamesTheRemedy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, verb, conditions, remedy string }{
		{"no capability", "drop", `exec setpriv --bounding-set=-all "$@"`, "missing CAP_BPF, CAP_PERFMON"},
		{"no capability to attach to devices", "capture", `exec setpriv --bounding-set=-all,+bpf,+perfmon "$@"`, "missing CAP_NET_ADMIN"},
		{"a user namespace", "fsync", `exec unshare -Ur "$@"`, "hostUsers: true"},
		{"no BTF", "drop", withoutSys("/sys/kernel/btf"), "--btf FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := lab.KtraceUnder(t, tt.conditions, tt.verb, "-d", "1s")
			if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), tt.remedy) {
				t.Errorf("status %d, %q, want %q", status, run.Stderr(), tt.remedy)
			}
		})
	}
}
