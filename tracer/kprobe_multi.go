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
)

// multiProgram is the name of what attachKprobeMulti makes of several programs.
const multiProgram = "functions"

// attachKprobeMulti attaches all hooks that may be at one link of kprobe.multi (kernel 5.18 with CONFIG_FPROBE), and returns
// what became of each, by its name; those that have no such variant are not in it. A link takes as long to detach as one
// function does, under kernel 6.12 some 70 to 130 ms, however many it has; as many links as functions take as often as
// long, one after the other. A function that is not there, as those of modules are not that no rule has needed yet, would
// have the kernel refuse all.
func (o *object) attachKprobeMulti(hooks []Hook, force string) map[string]error {
	became := map[string]error{}
	var programs []string
	for _, h := range hooks {
		for _, v := range h.candidates(force) {
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

// present is nil if the kernel, or a module that is loaded, has all functions that a variant is for.
func (o *object) present(v Variant) error {
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

// target is what a kprobe's program is for.
func target(spec *ebpf.ProgramSpec) string {
	_, name, _ := strings.Cut(spec.SectionName, "/")
	return name
}

func notThere(function string, err error) error {
	return fmt.Errorf("%s is not in this kernel, or in a module that no rule has needed yet: %w", function, err)
}

// attachMulti makes one program of those with these names and attaches it to the functions of all.
func (o *object) attachMulti(names []string) error {
	spec := o.spec.Copy()
	many := dispatch(spec.Programs, names)
	clear(spec.Programs)
	spec.Programs[multiProgram] = many
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

// dispatch returns a program that calls one of several, as the cookie of the place says where it runs: the index of the
// program's name.
func dispatch(programs map[string]*ebpf.ProgramSpec, names []string) *ebpf.ProgramSpec {
	many := *programs[names[0]]
	first := many.Instructions[0]
	main := &btf.Func{Name: multiProgram, Type: btf.FuncMetadata(&first).Type, Linkage: btf.GlobalFunc}
	all := asm.Instructions{
		// What has a function's type must have a line of source, too.
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

// bodies are the functions of several programs, as static ones: these the verifier checks with the context that they are
// called with. What several programs call is there once.
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
