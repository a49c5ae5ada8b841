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

// layers returns the packages, the lowest first. Each imports those of lower layers only. A new package gets a row here, as low as
// what it imports allows. What decodes and concludes is the same for files, on every system, so nothing of decoder imports what
// traces; and nothing that traces imports what parses command lines.
func layers() [][]string {
	return [][]string{
		in("decoder", "bounded", "fio", "layers", "packet", "pcapfilter", "pcapng", "printable", "reassembly", "wire"), // know no other
		in("decoder", "event"), // what records and packets say
		in("decoder", "dns", "eventfilter", "record", "recovery", "ruleset", "stage", "tls"), // make events of events, or facts of bytes
		in("decoder", "diagnose", "pod"), // are rules and stages
		in("decoder", "capture", "."),    // a file, and the pipeline: it knows stages and rules by their interfaces
		in("bpf", "."),                   // the objects
		in("tracer", "boot", "confine", "filterjit", "netlink", "procfs", "ring"), // ask the kernel
		in("tracer", "kallsyms", "mount", "netns", "probe"),
		in("tracer", "disk", "fsync", "host", "kube", "tc"), // are one live source each
		in("tracer", "node", "tap"),
		in("tracer", "."), // loads and attaches; it knows live sources by what they are called with
		in("cmd/internal", "heap", "interrupt", "outfile", "print"),
		in("cmd/internal", "flags", "savefile"),
		in("cmd/internal", "replay"), // files to a pipeline
		in("cmd/internal", "live"),   // a node to a pipeline
		in("cmd/ktrace", "."),
	}
}

// in are packages below a folder.
func in(folder string, names ...string) []string {
	for i, name := range names {
		names[i] = path.Join(folder, name)
	}
	return names
}

// outside are packages that the product does not import: what tests share, and what generates code.
var outside = map[string]bool{
	"bpf/gowire": true, "decoder/event/eventtest": true, "decoder/packet/packettest": true, "decoder/pcapfilter/filtertest": true, "decoder/wire/wiretest": true,
}

// TestNoImportClimbs: no package imports one of its own layer or of a higher one. Tests may.
func TestNoImportClimbs(t *testing.T) {
	layerOf := map[string]int{}
	for i, layer := range layers() {
		for _, name := range layer {
			layerOf[name] = i
		}
	}
	files := 0
	for _, folder := range []string{"bpf", "cmd", "decoder", "tracer"} {
		err := filepath.WalkDir(filepath.Join("..", folder), func(name string, _ fs.DirEntry, err error) error {
			own := strings.TrimPrefix(path.Dir(filepath.ToSlash(name)), "../")
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || outside[own] {
				return err
			}
			files++
			at, known := layerOf[own]
			if !known {
				t.Errorf("%s is in no layer", own)
				return nil
			}
			return climbs(t, name, at, layerOf)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 300 {
		t.Fatalf("%d files: some were not found", files)
	}
}

// climbs reports the imports of a file that are not below its package's layer.
func climbs(t *testing.T, name string, at int, layerOf map[string]int) error {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		below, within := strings.CutPrefix(imported, "ktrace/")
		layer, known := layerOf[below]
		switch {
		case !within:
		case !known:
			t.Errorf("%s imports %s, which is in no layer", name, imported)
		case layer >= at:
			t.Errorf("%s imports %s, which is not below it", name, imported)
		}
	}
	return nil
}
