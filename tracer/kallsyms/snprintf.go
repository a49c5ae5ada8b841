// SPDX-License-Identifier: Apache-2.0

package kallsyms

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// printer asks the kernel for the names of its functions, by a program that prints an address with %ps (bpf_snprintf, Linux
// 5.13, commit 7b15523a989b). Unlike /proc/kallsyms it costs no more than what is asked for, and nothing hides it.
type printer struct {
	program *ebpf.Program
	printed *ebpf.Map // what the program printed
}

// errNoFunction is returned for an address outside of functions.
var errNoFunction = errors.New("no function has this address")

// longestName is KSYM_NAME_LEN since 6.1. A module's name, which may follow, is cut.
const longestName = 512

func newPrinter() (*printer, error) {
	format, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1, Flags: unix.BPF_F_RDONLY_PROG,
		Contents: []ebpf.MapKV{{Key: uint32(0), Value: []byte("%ps\x00")}},
	})
	if err != nil {
		return nil, fmt.Errorf("names of functions: format: %w", err)
	}
	defer format.Close()                    // the program holds a reference
	if err := format.Freeze(); err != nil { // or the verifier takes it for no constant
		return nil, fmt.Errorf("names of functions: format: %w", err)
	}
	printed, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: longestName, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("names of functions: result: %w", err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "name", Type: ebpf.RawTracepoint, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord), // the address, as the context of the test run
			asm.StoreMem(asm.RFP, -8, asm.R6, asm.DWord),
			asm.LoadMapValue(asm.R1, printed.FD(), 0),
			asm.Mov.Imm(asm.R2, longestName),
			asm.LoadMapValue(asm.R3, format.FD(), 0),
			asm.Mov.Reg(asm.R4, asm.RFP),
			asm.Add.Imm(asm.R4, -8),
			asm.Mov.Imm(asm.R5, 8),
			asm.FnSnprintf.Call(),
			asm.Return(),
		},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("names of functions: %w", err), printed.Close())
	}
	return &printer{program: program, printed: printed}, nil
}

// name returns the function that has an address.
func (p *printer) name(address uint64) (string, error) {
	if _, err := p.program.Run(&ebpf.RunOptions{Context: address}); err != nil {
		return "", fmt.Errorf("names of functions: %w", err)
	}
	text, err := p.printed.LookupBytes(uint32(0))
	if err != nil {
		return "", fmt.Errorf("names of functions: %w", err)
	}
	name, _, _ := strings.Cut(unix.ByteSliceToString(text), " ") // "nft_do_chain [nf_tables]"
	if name == "" || strings.HasPrefix(name, "0x") {
		return "", errNoFunction
	}
	return name, nil
}

// close frees the program and its map.
func (p *printer) close() error { return errors.Join(p.program.Close(), p.printed.Close()) }

// CanPrint returns nil if the kernel can print names of its functions, else why not.
func CanPrint() error {
	p, err := newPrinter()
	if err != nil {
		return err
	}
	return p.close()
}
