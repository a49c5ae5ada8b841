// SPDX-License-Identifier: Apache-2.0

// Package kallsyms names the functions of the running kernel and its modules by their addresses.
package kallsyms

import (
	"errors"

	"ktrace/decoder/event"
)

// Symbols is the decoder.Enricher that names the kernel's functions which drops refer to. It asks the kernel for each or,
// where that cannot be asked (before Linux 5.13, or without its types), reads /proc/kallsyms.
type Symbols struct {
	printer *printer // nil: not tried
	failed  bool
	table   table
	named   map[uint64]bool // addresses that were asked for
}

// NewSymbols returns the witness.
func NewSymbols() *Symbols { return &Symbols{named: map[uint64]bool{}} }

// Enrich implements decoder.Enricher.
func (s *Symbols) Enrich(e event.Event) []event.Fact {
	drop, ok := e.Body.(event.Drop)
	if !ok || s.named[drop.Address] {
		return nil
	}
	s.named[drop.Address] = true
	name, ok := s.name(drop.Address)
	if !ok {
		return nil
	}
	return []event.Fact{{Symbol: &event.Symbol{Address: drop.Address, Name: name}}}
}

// Close frees the BPF program.
func (s *Symbols) Close() error {
	if s.printer == nil {
		return nil
	}
	return s.printer.close()
}

// Prepare loads what asks the kernel, if that has it. After it no program is loaded.
func (s *Symbols) Prepare() {
	if s.printer == nil && !s.failed {
		var err error
		s.printer, err = newPrinter()
		s.failed = err != nil
		if err == nil {
			_, _ = s.printer.name(0) // the library loads a program of its own before it runs one for the first time
		}
	}
}

// name returns the function that has an address.
func (s *Symbols) name(address uint64) (string, bool) {
	s.Prepare()
	if s.printer != nil {
		name, err := s.printer.name(address)
		if err == nil || errors.Is(err, errNoFunction) {
			return name, err == nil
		}
	}
	return s.table.find(address)
}
