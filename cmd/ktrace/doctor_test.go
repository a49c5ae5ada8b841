package main

import (
	"os"
	"strings"
	"testing"

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

const cgroups = "cgroup: cgroups come and go"

func TestDoctorTellsWhatIsMissing(t *testing.T) {
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
		{"in a PID namespace", `exec unshare -p -f --mount-proc "$@"`, []string{"PID namespace"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checks, hooks := doctor(t, tt.conditions)
			for _, name := range tt.missing {
				if c := checks[name]; c.OK || c.Found == "" || c.Costs == "" || c.Remedy == "" {
					t.Errorf("%s: %+v", name, c)
				}
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

func TestTypesFromAFileServeWhereTheKernelTellsNone(t *testing.T) {
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
	for _, tt := range []struct{ name, conditions, remedy string }{
		{"no capability", `exec setpriv --bounding-set=-all "$@"`, "missing CAP_BPF, CAP_PERFMON"},
		{"no BTF", withoutSys("/sys/kernel/btf"), "--btf FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := lab.KtraceUnder(t, tt.conditions, "drop", "-d", "1s")
			if _, status := run.Wait(); status != 1 || !strings.Contains(run.Stderr(), tt.remedy) {
				t.Errorf("status %d, %q, want %q", status, run.Stderr(), tt.remedy)
			}
		})
	}
}
