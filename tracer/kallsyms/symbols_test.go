// SPDX-License-Identifier: Apache-2.0

package kallsyms

import (
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"

	"ktrace/decoder/event"
)

// inFunction is an address in a function of the kernel's, and its name.
func inFunction(t *testing.T) (address uint64, name string) {
	t.Helper()
	for _, s := range readTable() {
		if s.name == "kfree_skb_list_reason" || s.name == "kfree_skb_list" { // before 5.17
			address, name = s.address+8, s.name
		}
	}
	if address < 1<<32 {
		t.Fatal("the kernel's symbols lack a function, or its address is hidden")
	}
	return address, name
}

func TestAFunctionIsReportedOnce(t *testing.T) {
	address, name := inFunction(t)
	s := NewSymbols()
	facts := s.Enrich(event.Event{Body: event.Drop{Address: address}})
	if len(facts) != 1 || facts[0].Symbol.Name != name || facts[0].Symbol.Address != address {
		t.Errorf("reported %v, want %s", facts, name)
	}
	if again := s.Enrich(event.Event{Body: event.Drop{Address: address}}); again != nil {
		t.Errorf("reported again: %v", again)
	}
	if none := s.Enrich(event.Event{Body: event.Drop{Address: 8}}); none != nil {
		t.Errorf("reported %v of an address outside of functions", none)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestTheKernelNamesItsFunctions compares what it says with its list.
func TestTheKernelNamesItsFunctions(t *testing.T) {
	p, err := newPrinter()
	if !hasSnprintf(t) {
		if err == nil {
			t.Error("this kernel has no bpf_snprintf, which names them")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	address, want := inFunction(t)
	if name, err := p.name(address); err != nil || name != want {
		t.Errorf("named %q, %v, want %s", name, err, want)
	}
	if name, err := p.name(8); !errors.Is(err, errNoFunction) {
		t.Errorf("8 is named %q, %v", name, err)
	}
	const asked = 1000
	all := readTable()
	made := []string{"ftrace_trampoline", "kprobe_insn_page", "kprobe_optinsn_page"} // no functions, and only on the list
	all = slices.DeleteFunc(all, func(s symbol) bool { return slices.Contains(made, s.name) })
	for i := 0; i < len(all); i += len(all)/asked + 1 {
		name, err := p.name(all[i].address)
		if err == nil && alias(all, all[i].address, name) {
			continue
		}
		if alias(readTable(), all[i].address, all[i].name) { // programs and their trampolines come and go
			t.Errorf("%#x is %s, named %q, %v", all[i].address, all[i].name, name, err)
		}
	}
}

// hasSnprintf reports whether this kernel's types list bpf_snprintf.
func hasSnprintf(t *testing.T) bool {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var ids *btf.Enum
	if err := kernel.TypeByName("bpf_func_id", &ids); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(ids.Values, func(v btf.EnumValue) bool { return v.Name == "BPF_FUNC_snprintf" })
}

// alias reports whether an address has a name, perhaps among others.
func alias(symbols []symbol, address uint64, name string) bool {
	for _, s := range symbols {
		if s.address == address && s.name == name {
			return true
		}
	}
	return false
}

// TestAFunctionIsNamedThoughItsModuleCameLater: a rule loads modules while ktrace watches.
func TestAFunctionIsNamedThoughItsModuleCameLater(t *testing.T) {
	address, want := inFunction(t)
	list := table{symbols: []symbol{{1, "the_last_of_another_module"}}, modules: "another 0x1\n"}
	if name, ok := list.find(address); !ok || name != want {
		t.Errorf("found %q, want %s", name, want)
	}
}

func BenchmarkKallsyms(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		readTable()
	}
}

func BenchmarkPrinter(b *testing.B) {
	b.ReportAllocs()
	address := readTable()[1000].address
	for b.Loop() {
		p, err := newPrinter()
		if err != nil {
			b.Fatal(err)
		}
		for range 10 { // functions that drop
			_, _ = p.name(address)
		}
		_ = p.close()
	}
}
