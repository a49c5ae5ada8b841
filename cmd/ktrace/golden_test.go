// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
)

var rewrite = flag.Bool("update", false, "rewrite the golden outputs")

const (
	records = "../../testdata/records"
	golden  = "../../testdata/golden"
)

// outputs are what every recording is printed as: --output and the golden file's extension.
func outputs() map[string]string {
	return map[string]string{"text": "txt", "wide": "wide.txt", "json": "json"}
}

// recordings are testdata/records/VIEW-CASE.rec.
func recordings(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(records, "*.rec"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no recordings")
	}
	return files
}

// readAgain is what ktrace read prints of a recording.
func readAgain(t *testing.T, file, output string, more ...string) string {
	t.Helper()
	view, _, _ := strings.Cut(filepath.Base(file), "-")
	var out, said bytes.Buffer
	root := newRoot(replay.Streams{Out: &out, Err: &said})
	root.SetArgs(append([]string{"read", file, view, "--output", output}, more...))
	if err := root.ExecuteContext(t.Context()); err != nil && !errors.Is(err, flags.ErrFindings) {
		t.Fatalf("%v\n%s", err, said.String())
	}
	return out.String()
}

// TestGolden replays every recording through every printer.
func TestGolden(t *testing.T) {
	for _, file := range recordings(t) {
		for output, extension := range outputs() {
			name := strings.TrimSuffix(filepath.Base(file), ".rec") + "." + extension
			t.Run(name, func(t *testing.T) {
				got := readAgain(t, file, output)
				want := filepath.Join(golden, name)
				if *rewrite {
					if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				text, err := os.ReadFile(want)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(text) {
					t.Errorf("differs from %s (make golden rewrites it):\n%s", want, got)
				}
			})
		}
	}
}

// TestReadmeShowsWhatKtracePrints checks the README's sessions: each begins with the command
// "$ ktrace read testdata/records/..." and goes on with its very output.
func TestReadmeShowsWhatKtracePrints(t *testing.T) {
	t.Parallel()
	const readme = "../../README.md"
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	want, sessions := withSessions(t, string(text))
	if sessions == 0 {
		t.Fatal("the README shows no session")
	}
	if *rewrite {
		if err := os.WriteFile(readme, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Error("the README's sessions are not what ktrace prints (make golden rewrites them)")
	}
}

// withSessions returns a README with the output under each command as ktrace prints it now.
func withSessions(t *testing.T, text string) (fresh string, sessions int) {
	t.Helper()
	const prompt = "    $ ktrace read testdata/records/"
	var b strings.Builder
	inOutput := false
	for line := range strings.Lines(text) {
		inOutput = inOutput && strings.HasPrefix(line, "    ")
		if inOutput {
			continue
		}
		b.WriteString(line)
		if file, ok := strings.CutPrefix(line, prompt); ok {
			b.WriteString(indent(readAgain(t, filepath.Join(records, strings.Fields(file)[0]), "text")))
			inOutput = true
			sessions++
		}
	}
	return b.String(), sessions
}

// indent makes text a block of the README.
func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}
