// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"ktrace/tracer/probe"
)

// multiProgram is the name of the program that attachKprobeMulti makes of several.
const multiProgram = "functions"

// attachKprobeMulti attaches all hooks with a Multi variant by one kprobe.multi link (kernel 5.18 with CONFIG_FPROBE). It
// returns the error of each such hook, nil if it is attached, by the hook's name.
//
// One link, because detaching a link takes 70 to 130 ms on kernel 6.12 however many functions it has, and links are
// detached one after the other. The kernel refuses a link if one of its functions does not exist, as functions of modules
// do not before the first rule that needs the module: such hooks are left out.
func (o *object) attachKprobeMulti(hooks []probe.Hook, force string) map[string]error {
	became := map[string]error{}
	var programs []string
	for _, h := range hooks {
		for _, v := range candidates(h, force) {
			if !v.Multi {
				continue
			}
			if became[h.Name] = o.present(v); became[h.Name] == nil {
				programs = append(programs, v.Programs...)
			}
		}
	}
	if len(programs) == 0 {
		return became
	}
	if err := o.attachMulti(programs); err != nil {
		for name, before := range became {
			if before == nil {
				became[name] = err
			}
		}
	}
	return became
}

// present returns nil if the kernel and its loaded modules have all functions of a variant.
func (o *object) present(v probe.Variant) error {
	if !o.types.function("register_fprobe_ips") {
		return errors.New("this kernel has no kprobe.multi (5.18 with CONFIG_FPROBE)")
	}
	for _, name := range v.Programs {
		if f := target(o.spec.Programs[name]); !o.types.function(f) {
			return notThere(f, fs.ErrNotExist)
		}
	}
	return nil
}

// target is the function that a kprobe program is for.
func target(spec *ebpf.ProgramSpec) string {
	_, name, _ := strings.Cut(spec.SectionName, "/")
	return name
}

func notThere(function string, err error) error {
	return fmt.Errorf("%s is not in this kernel, or in a module that no rule has needed yet: %w", function, err)
}

// attachMulti makes one program of those with these names and attaches it to all their functions.
func (o *object) attachMulti(names []string) error {
	spec := part(o.spec)
	spec.Programs[multiProgram] = dispatch(o.spec.Programs, names)
	c, err := o.loadPrograms(spec)
	if err != nil {
		return err
	}
	defer c.Close() // the program is taken out of it on success
	at := link.KprobeMultiOptions{}
	for i, name := range names {
		at.Symbols = append(at.Symbols, target(o.spec.Programs[name]))
		at.Cookies = append(at.Cookies, uint64(i))
	}
	l, err := link.KprobeMulti(c.Programs[multiProgram], at)
	if err != nil {
		return fmt.Errorf("attach %s: %w", strings.Join(at.Symbols, ", "), err)
	}
	o.links = append(o.links, l)
	o.programs[multiProgram] = c.DetachProgram(multiProgram)
	return nil
}

// dispatch returns a program that calls one of several: the attach cookie is the index of the program's name.
func dispatch(programs map[string]*ebpf.ProgramSpec, names []string) *ebpf.ProgramSpec {
	many := *programs[names[0]]
	first := many.Instructions[0]
	main := &btf.Func{Name: multiProgram, Type: btf.FuncMetadata(&first).Type, Linkage: btf.GlobalFunc}
	all := asm.Instructions{
		// The kernel wants a line of source for every function with a type.
		btf.WithFuncMetadata(asm.Mov.Reg(asm.R6, asm.R1), main).WithSymbol(multiProgram).WithSource(first.Source()),
		asm.FnGetAttachCookie.Call(),
		asm.Mov.Reg(asm.R1, asm.R6),
	}
	for i, name := range names {
		all = append(all, asm.JEq.Imm(asm.R0, int32(i), "call "+name))
	}
	all = append(all, asm.Mov.Imm(asm.R0, 0), asm.Return())
	for _, name := range names {
		all = append(all, asm.Call.Label(name).WithSymbol("call "+name), asm.Return())
	}
	all = append(all, bodies(programs, names)...)
	many.Name, many.SectionName, many.AttachTo = multiProgram, "kprobe.multi", ""
	many.AttachType, many.Instructions = ebpf.AttachTraceKprobeMulti, all
	return &many
}

// bodies are the functions of several programs, each once, made static: the verifier checks static functions with the
// context that they are called with.
func bodies(programs map[string]*ebpf.ProgramSpec, names []string) (all asm.Instructions) {
	known := map[string]bool{}
	for _, name := range names {
		twice := false
		for _, ins := range programs[name].Instructions {
			if f := btf.FuncMetadata(&ins); f != nil {
				twice = known[f.Name]
				known[f.Name] = true
				static := *f
				static.Linkage = btf.StaticFunc
				ins = btf.WithFuncMetadata(ins, &static)
			}
			if !twice {
				all = append(all, ins)
			}
		}
	}
	return all
}
