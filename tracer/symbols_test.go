package tracer

import (
	"testing"

	"ktrace/decoder"
)

// TestAFunctionIsNamedThoughItsModuleCameLater: a rule loads modules while ktrace watches.
func TestAFunctionIsNamedThoughItsModuleCameLater(t *testing.T) {
	const wanted = "kfree_skb_list_reason"
	var at uint64
	for _, s := range kallsyms() {
		if s.name == wanted || s.name == "kfree_skb_list" { // before 5.17
			at = s.address + 8
		}
	}
	if at < 1<<32 {
		t.Fatalf("%s is not among the kernel's symbols, or its address is hidden", wanted)
	}
	s := NewSymbols()
	s.table, s.modules = []symbol{{1, "the_last_of_another_module"}}, "another 0x1\n"
	facts := s.About(decoder.Event{Body: decoder.Drop{Address: at}})
	if len(facts) != 1 || facts[0].Symbol.Name != wanted && facts[0].Symbol.Name != "kfree_skb_list" {
		t.Errorf("told %v, want %s", facts, wanted)
	}
	if again := s.About(decoder.Event{Body: decoder.Drop{Address: at}}); again != nil {
		t.Errorf("told again: %v", again)
	}
}

func BenchmarkKallsyms(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		kallsyms()
	}
}
