// SPDX-License-Identifier: Apache-2.0

package filterjit

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"ktrace/decoder/pcapfilter"
)

// Names of the stubs that Splice replaces.
const (
	FrameStub  = "packet_filter_l2"
	PacketStub = "packet_filter_l3"
)

// switchName is the variable that says that there is a filter.
const switchName = "filtering"

// forms are the stubs by name.
func forms() map[string]form {
	return map[string]form{FrameStub: &frames{}, PacketStub: &packets{}}
}

// Splice replaces the filter stubs in all programs of a collection by an expression. It returns how many it
// replaced: none means that nothing will be filtered. Where an expression asks for what the packets of a
// stub do not have, such as MAC addresses without a link header, the error is a *pcapfilter.Error of the
// decoder; where it makes too much code, ErrTooComplex.
func Splice(spec *ebpf.CollectionSpec, e *pcapfilter.Expr) (int, error) {
	replaced := 0
	for name, program := range spec.Programs {
		for stub, f := range forms() {
			if !contains(program.Instructions, stub) {
				continue
			}
			p, err := e.Compile(f.link())
			if err != nil {
				return replaced, err
			}
			ins, err := body(p, f, stub)
			if err != nil {
				return replaced, fmt.Errorf("filter %q in program %s: %w", e, name, err)
			}
			program.Instructions = replace(program.Instructions, stub, ins)
			replaced++
		}
	}
	if v := spec.Variables[switchName]; v != nil && replaced > 0 {
		if err := v.Set(true); err != nil {
			return replaced, fmt.Errorf("filter: %s: %w", switchName, err)
		}
	}
	return replaced, nil
}

// Takes reports whether any program of a collection has the stub.
func Takes(spec *ebpf.CollectionSpec, stub string) bool {
	for _, program := range spec.Programs {
		if contains(program.Instructions, stub) {
			return true
		}
	}
	return false
}

func contains(ins asm.Instructions, symbol string) bool {
	for i := range ins {
		if ins[i].Symbol() == symbol {
			return true
		}
	}
	return false
}

// replace puts a body in the place of a function, which ends where the next one begins. The first
// instruction keeps the function's name and type information.
func replace(ins asm.Instructions, function string, body asm.Instructions) asm.Instructions {
	var out asm.Instructions
	inside := false
	for _, in := range ins {
		if in.Symbol() != "" {
			inside = in.Symbol() == function
			if inside {
				first := body[0].WithMetadata(in.Metadata)
				out = append(append(out, first), body[1:]...)
			}
		}
		if !inside {
			out = append(out, in)
		}
	}
	return out
}
