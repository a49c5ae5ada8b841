package tracer

import (
	"errors"

	"ktrace/decoder"
)

// Symbols is the decoder.Witness that names the kernel's functions which drops refer to. It asks the kernel for each or,
// where that cannot be asked (before Linux 5.13, or without its types), reads /proc/kallsyms.
type Symbols struct {
	namer  *namer // nil: not tried
	failed bool
	table  kallsyms
	told   map[uint64]bool
}

// NewSymbols returns the witness.
func NewSymbols() *Symbols { return &Symbols{told: map[uint64]bool{}} }

// About implements decoder.Witness.
func (s *Symbols) About(e decoder.Event) []decoder.Fact {
	drop, ok := e.Body.(decoder.Drop)
	if !ok || s.told[drop.Address] {
		return nil
	}
	s.told[drop.Address] = true
	name, ok := s.name(drop.Address)
	if !ok {
		return nil
	}
	return []decoder.Fact{{Symbol: &decoder.Symbol{Address: drop.Address, Name: name}}}
}

// Close lets go of what asks the kernel.
func (s *Symbols) Close() error {
	if s.namer == nil {
		return nil
	}
	return s.namer.Close()
}

// name returns the function that an address lies in.
func (s *Symbols) name(address uint64) (string, bool) {
	if s.namer == nil && !s.failed {
		var err error
		s.namer, err = newNamer()
		s.failed = err != nil
	}
	if s.namer != nil {
		name, err := s.namer.name(address)
		if err == nil || errors.Is(err, errNoFunction) {
			return name, err == nil
		}
	}
	return s.table.find(address)
}
