// SPDX-License-Identifier: Apache-2.0

package kallsyms

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strings"
)

// table are the functions of the kernel and of its modules, sorted by address. They are about 100,000, in a file of twice as
// many lines that the kernel formats one by one, so it is read on the first lookup.
type table struct {
	symbols []symbol
	modules string // whose functions are in the table
}

type symbol struct {
	address uint64
	name    string
}

// find returns the function that has an address.
func (t *table) find(address uint64) (string, bool) {
	if now := Modules(); t.symbols == nil || now != t.modules {
		t.symbols, t.modules = readTable(), now
	}
	i, found := slices.BinarySearchFunc(t.symbols, address, func(x symbol, a uint64) int { return cmp.Compare(x.address, a) })
	if !found {
		i--
	}
	if i < 0 || t.symbols[i].address == 0 {
		return "", false // before the first, or kptr_restrict hides the addresses
	}
	return t.symbols[i].name, true
}

// Modules are the names and addresses of the loaded modules, a line each. If it changed, the table is stale: a rule may load
// a module at any time, and its functions would be taken for the last function of the module below it.
func Modules() string {
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		return "" // a kernel without modules
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 6 { // name, size, users, by whom, state, address
			b.WriteString(f[0] + f[5] + "\n")
		}
	}
	return b.String()
}

// readTable reads /proc/kallsyms; nil if it may not.
func readTable() []symbol {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil
	}
	defer file.Close()
	var symbols []symbol
	for lines := bufio.NewScanner(file); lines.Scan(); {
		address, rest, _ := bytes.Cut(lines.Bytes(), []byte(" ")) // address, type, name, [module]
		kind, name, _ := bytes.Cut(rest, []byte(" "))
		if len(kind) != 1 || bytes.IndexByte([]byte("tTwW"), kind[0]) < 0 {
			continue
		}
		name, _, _ = bytes.Cut(name, []byte("\t"))
		var a [8]byte
		if n, err := hex.Decode(a[:], address[:min(len(address), 16)]); err == nil && n == len(a) {
			symbols = append(symbols, symbol{binary.BigEndian.Uint64(a[:]), string(name)})
		}
	}
	slices.SortStableFunc(symbols, func(a, b symbol) int { return cmp.Compare(a.address, b.address) })
	return symbols
}
