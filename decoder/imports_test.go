// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// layers returns the packages below decoder, the lowest first. Each imports those of lower layers only. A new package gets
// a row here, as low as what it imports allows.
func layers() [][]string {
	return [][]string{
		{"bounded", "fio", "layers", "packet", "pcapfilter", "pcapng", "printable", "reassembly", "wire"}, // know no other
		{"event"}, // what records and packets say
		{"dns", "eventfilter", "record", "recovery", "ruleset", "stage", "tls"}, // make events of events, or facts of bytes
		{"diagnose", "pod"}, // are rules and stages
		{"capture"},
		{"."}, // the pipeline: it knows stages and rules by their interfaces
	}
}

// onlyForTests are packages that only tests import.
var onlyForTests = map[string]bool{"event/eventtest": true, "packet/packettest": true, "pcapfilter/filtertest": true, "wire/wiretest": true}

// TestNoImportClimbs: what decodes and concludes is the same for files, on every system, so nothing below decoder imports
// what traces, or what parses command lines; and within, no package imports one of its own layer or of a higher one. Tests may.
func TestNoImportClimbs(t *testing.T) {
	layerOf := map[string]int{}
	for i, layer := range layers() {
		for _, name := range layer {
			layerOf[name] = i
		}
	}
	files := 0
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || onlyForTests[path.Dir(filepath.ToSlash(name))] {
			return err
		}
		files++
		own := path.Dir(filepath.ToSlash(name))
		at, known := layerOf[own]
		if !known {
			t.Errorf("%s is in no layer", own)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			below, within := strings.CutPrefix(imported+"/", "ktrace/decoder/")
			below = path.Clean(below)
			layer, known := layerOf[below]
			switch {
			case !strings.HasPrefix(imported, "ktrace/"):
			case !within, !known:
				t.Errorf("%s imports %s", name, imported)
			case layer >= at:
				t.Errorf("%s imports %s, which is not below it", name, imported)
			}
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files, %v", files, err)
	}
}
