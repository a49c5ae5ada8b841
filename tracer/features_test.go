// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ktrace/tracer/host"
	"ktrace/tracer/kallsyms"
	"ktrace/tracer/probe"
)

// kernel is the running one, as witnesses that the loader does not use describe it.
type kernel struct {
	release string
	major   int
	minor   int
	symbols map[string]bool // of /proc/kallsyms, modules included
	types   *btf.Spec
	modules []*btf.Spec // of those that are loaded and described: none before 5.11
}

// known is what tests have read of the running kernel. It is good until a module comes or goes, and takes seconds to read
// where a kernel is emulated.
var known struct {
	sync.Mutex
	modules string
	kernel  *kernel
	types   types
}

// knowing reads what is not known yet.
func knowing(t *testing.T) (*kernel, types) {
	t.Helper()
	known.Lock()
	defer known.Unlock()
	if now := kallsyms.Modules(); known.kernel == nil || now != known.modules {
		read, err := kernelTypes("")
		if err != nil {
			t.Fatal(err)
		}
		known.modules, known.kernel, known.types = now, readKernel(t), read
	}
	return known.kernel, known.types
}

func runningKernel(t *testing.T) *kernel {
	k, _ := knowing(t)
	return k
}

func readKernel(t *testing.T) *kernel {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	k := &kernel{release: unix.ByteSliceToString(uts.Release[:]), symbols: map[string]bool{}}
	if _, err := fmt.Sscanf(k.release, "%d.%d", &k.major, &k.minor); err != nil {
		t.Fatalf("release %q: %v", k.release, err)
	}
	list, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		_, name, _ := strings.Cut(line, " ") // address, type, name, [module]
		name, _, _ = strings.Cut(name[2:], "\t")
		k.symbols[strings.TrimSuffix(name, "\n")] = true
	}
	types := btf.NewCache()
	if k.types, err = types.Kernel(); err != nil {
		t.Fatal(err)
	}
	described, err := filepath.Glob("/sys/kernel/btf/nf_*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range described {
		spec, err := types.Module(filepath.Base(file))
		if err != nil {
			t.Fatal(err)
		}
		k.modules = append(k.modules, spec)
	}
	return k
}

// series is the release without its patch level and flavour: 6.12.
func (k *kernel) series() string { return fmt.Sprintf("%d.%d", k.major, k.minor) }

// stock reports whether Debian built it, so what it should have is known.
func (k *kernel) stock() bool { return strings.HasSuffix(k.release, "-amd64") }

func (k *kernel) atLeast(major, minor int) bool {
	return k.major > major || k.major == major && k.minor >= minor
}

func (k *kernel) function(name string) bool {
	return slices.ContainsFunc(append(k.modules, k.types), func(s *btf.Spec) bool {
		var f *btf.Func
		return s.TypeByName(name, &f) == nil
	})
}

func (k *kernel) typedef(name string) bool {
	var d *btf.Typedef
	return k.types.TypeByName(name, &d) == nil
}

func (k *kernel) helper(name string) bool {
	var ids *btf.Enum
	return k.types.TypeByName("bpf_func_id", &ids) == nil &&
		slices.ContainsFunc(ids.Values, func(v btf.EnumValue) bool { return v.Name == name })
}

// feature is something of the kernel that programs of some sections need.
type feature struct {
	name  string
	has   func(k *kernel, target string) bool
	stock func(k *kernel) bool // whether Debian's kernels have it; nil if it depends on the target
}

func always(*kernel) bool { return true }

var (
	tracepoint = feature{"tracepoint", func(k *kernel, target string) bool { return k.symbols["__traceiter_"+target] }, nil}
	typedPoint = feature{"BTF of the tracepoint", func(k *kernel, target string) bool { return k.typedef("btf_trace_" + target) }, nil}
	iterator   = feature{"BPF iterator", func(k *kernel, target string) bool { return k.function("bpf_iter_" + target) }, always}
	function   = feature{"function", func(k *kernel, target string) bool { return k.symbols[target] }, nil}
	typedFunc  = feature{"BTF of the function", func(k *kernel, target string) bool { return k.function(target) }, nil}
	newEvent   = feature{"event in tracefs", hasEvent, nil}
	kprobes    = feature{"CONFIG_KPROBES", func(k *kernel, _ string) bool { return k.symbols["register_kprobe"] }, always}
	// Debian's 6.1 is built without, though the kernel has it since 5.18.
	fprobes = feature{"CONFIG_FPROBE", func(k *kernel, _ string) bool { return k.symbols["register_fprobe"] },
		func(k *kernel) bool { return k.atLeast(6, 12) }}
	// fentry patches the call that ftrace left. Some kernels answer EPERM to any such program, though all that it is
	// said to need is configured: the witness is the smallest there is.
	trampolines = feature{"fentry", takesFentry, always}
)

func takesFentry(*kernel, string) bool {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "tcp_conn_request", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return false
	}
	return p.Close() == nil
}

// needs is what programs of a section need, by the section's first part. A program is taken exactly where all of it
// is there.
var needs = map[string][]feature{
	"raw_tp":     {tracepoint},
	"iter":       {iterator},
	"tp_btf":     {tracepoint, typedPoint},
	"tracepoint": {newEvent},
	"fentry":     {trampolines, typedFunc},
	"fexit":      {trampolines, typedFunc},
	"kprobe":     {kprobes, function},
	"kretprobe":  {kprobes, function},
	"tc":         {},
	"cgroup_skb": {},
}

// hasEvent looks where tracefs is mounted, if only for the length of the look.
func hasEvent(_ *kernel, target string) bool {
	return host.WithTracefs(func() error {
		_, err := os.Stat(filepath.Join(host.Tracefs, "events", target, "id"))
		return err
	}) == nil
}

// lacking names what the kernel lacks for a program.
func (k *kernel) lacking(t *testing.T, spec *ebpf.ProgramSpec) []string {
	t.Helper()
	kind, target, _ := strings.Cut(spec.SectionName, "/")
	features, known := needs[kind]
	if !known {
		t.Fatalf("what section %s needs is not listed", spec.SectionName)
	}
	var lacks []string
	for _, f := range features {
		if !f.has(k, target) {
			lacks = append(lacks, f.name)
		}
	}
	return lacks
}

// TestStockKernelHasWhatItShould keeps the witnesses honest: one that sees nothing would excuse every refusal.
func TestStockKernelHasWhatItShould(t *testing.T) {
	k := runningKernel(t)
	if !k.stock() {
		t.Skipf("%s is not built by Debian: what it should have is not known", k.release)
	}
	for _, f := range []feature{kprobes, fprobes, trampolines} {
		if got, want := f.has(k, ""), f.stock(k); got != want {
			t.Errorf("%s: there %v, should be %v", f.name, got, want)
		}
	}
	if !hasEvent(k, "syscalls/sys_enter_fsync") {
		t.Error("no events in tracefs")
	}
}

// refusal is a variant that a kernel does not take for another reason than a missing feature.
type refusal struct {
	program string
	where   func(k *kernel) bool
	why     string
}

func refusals() []refusal {
	return []refusal{
		{"send_reset_raw_tp", func(k *kernel) bool { return probe.TracepointArguments(k.types, "tcp_send_reset") < 4 },
			"tcp_send_reset gives no reason before 6.10"},
		{"enter_msync", func(k *kernel) bool { return !k.helper("BPF_FUNC_find_vma") }, "there is no bpf_find_vma before 5.17"},
	}
}

// wanting says why the kernel does not take a variant; nothing if it must.
func (k *kernel) wanting(t *testing.T, spec *ebpf.CollectionSpec, v probe.Variant) []string {
	t.Helper()
	var lacks []string
	for _, name := range v.Programs {
		lacks = append(lacks, k.lacking(t, spec.Programs[name])...)
	}
	if v.Multi && !fprobes.has(k, "") {
		lacks = append(lacks, fprobes.name)
	}
	for _, r := range refusals() {
		if slices.Contains(v.Programs, r.program) && r.where(k) {
			lacks = append(lacks, r.why)
		}
	}
	return lacks
}

// TestEveryVariantIsTakenWhereItsFeaturesAre loads and attaches every variant of every hook by itself.
func TestEveryVariantIsTakenWhereItsFeaturesAre(t *testing.T) {
	firewalled(t) // loads the modules that have some of the functions
	k := runningKernel(t)
	for _, p := range probe.All() {
		o := loaded(t, p)
		for _, h := range p.Hooks {
			for _, v := range h.Variants {
				t.Run(p.Name+"/"+h.Name+"/"+v.Name, func(t *testing.T) { takeAlone(t, k, o, v) })
			}
		}
	}
}

func takeAlone(t *testing.T, k *kernel, o *object, v probe.Variant) {
	lacks := k.wanting(t, o.spec, v)
	var err error
	if v.Multi {
		err = o.attachKprobeMulti([]probe.Hook{{Name: "alone", Variants: []probe.Variant{v}}}, "")["alone"]
	} else {
		err = o.tryVariant(v)
	}
	if closing := o.detach(); closing != nil {
		t.Error(closing)
	}
	switch {
	case err != nil && len(lacks) == 0:
		t.Errorf("refused though nothing is missing: %v", err)
	case err == nil && len(lacks) > 0:
		t.Errorf("taken in spite of %v", lacks)
	case err != nil:
		t.Logf("refused for %v: %v", lacks, err)
	}
}
