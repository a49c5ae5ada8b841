package tracer

import (
	"bufio"
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"ktrace/decoder"
)

// Symbols is the decoder.Witness that names the kernel's functions which drops refer to.
type Symbols struct {
	table []symbol // by address; read when first asked
	read  bool
	told  map[uint64]bool
}

type symbol struct {
	address uint64
	name    string
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
	if !s.read {
		s.read = true
		s.table = kallsyms()
	}
	name, ok := s.find(drop.Address)
	if !ok {
		return nil
	}
	return []decoder.Fact{{Symbol: &decoder.Symbol{Address: drop.Address, Name: name}}}
}

// find returns the function that an address lies in.
func (s *Symbols) find(address uint64) (string, bool) {
	i, found := slices.BinarySearchFunc(s.table, address, func(x symbol, a uint64) int { return cmp.Compare(x.address, a) })
	if !found {
		i--
	}
	if i < 0 || s.table[i].address == 0 {
		return "", false // before the first, or kptr_restrict hides them all
	}
	return s.table[i].name, true
}

// kallsyms reads the functions of the kernel and of its modules; none if it is not allowed to.
func kallsyms() []symbol {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil
	}
	defer file.Close()
	var table []symbol
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f := strings.Fields(lines.Text()) // address, type, name, [module]
		if len(f) < 3 || !strings.Contains("tTwW", f[1]) {
			continue
		}
		if address, err := strconv.ParseUint(f[0], 16, 64); err == nil {
			table = append(table, symbol{address, strings.Clone(f[2])})
		}
	}
	slices.SortStableFunc(table, func(a, b symbol) int { return cmp.Compare(a.address, b.address) })
	return table
}
