// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// recordType is the name of the struct that every object sends.
const recordType = "event"

// decodeMethod returns the method that reads a struct from its bytes, with one load per field: reflection is slower.
func decodeMethod(name string, s *btf.Struct, names map[btf.Type]string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "// RecordSize is the size of %s in bytes.\nfunc (*%s) RecordSize() int { return %d }\n\n", name, name, s.Size)
	if s.Name == recordType {
		fmt.Fprintf(&b, "// Decode reads the record from b. It may end early, where its tail was not needed: what is missing reads as zero.\n"+
			"func (r *%s) Decode(b []byte) {\nif len(b) < %d {\nb = append(make([]byte, 0, %[2]d), b...)[:%[2]d]\n}\n", name, s.Size)
	} else {
		fmt.Fprintf(&b, "// Decode reads the struct from b, which must hold RecordSize bytes.\nfunc (r *%s) Decode(b []byte) {\n", name)
	}
	for _, m := range s.Members {
		if m.Name == "" || m.BitfieldSize != 0 {
			return "", fmt.Errorf("%s: unnamed and bit fields cannot be decoded", name)
		}
		line, err := load("r."+camel("_"+m.Name), m.Type, fmt.Sprint(m.Offset.Bytes()), names)
		if err != nil {
			return "", fmt.Errorf("%s.%s: %w", name, m.Name, err)
		}
		b.WriteString(line)
	}
	b.WriteString("}\n\n")
	return b.String(), nil
}

// load is the statement that reads one field at an offset.
func load(field string, t btf.Type, offset string, names map[btf.Type]string) (string, error) {
	t = btf.UnderlyingType(t)
	if array, ok := t.(*btf.Array); ok {
		return loadArray(field, array, offset, names)
	}
	if _, ok := t.(*btf.Struct); ok {
		if names[t] == "" {
			return "", fmt.Errorf("nested struct without a name of its own")
		}
		return fmt.Sprintf("%s.Decode(b[%s:])\n", field, offset), nil
	}
	size, err := btf.Sizeof(t)
	if err != nil {
		return "", err
	}
	value := fmt.Sprintf("binary.LittleEndian.Uint%d(b[%s:])", size*8, offset)
	if size == 1 {
		value = fmt.Sprintf("b[%s]", offset)
	}
	if i, ok := t.(*btf.Int); ok && i.Encoding == btf.Signed {
		value = fmt.Sprintf("int%d(%s)", size*8, value)
	}
	return fmt.Sprintf("%s = %s\n", field, value), nil
}

func loadArray(field string, array *btf.Array, offset string, names map[btf.Type]string) (string, error) {
	size, err := btf.Sizeof(array.Type)
	if err != nil {
		return "", err
	}
	if size == 1 {
		return fmt.Sprintf("copy(%s[:], b[%s:])\n", field, offset), nil
	}
	element, err := load(field+"[i]", array.Type, fmt.Sprintf("%s+i*%d", offset, size), names)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("for i := range %s {\n%s}\n", field, element), nil
}
