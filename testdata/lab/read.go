// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"testing"
)

// Command is ktrace as a function: arguments without the program's name, and what the process would write and exit with.
type Command func(ctx context.Context, args []string, out, err io.Writer) (status int)

// inProcess is Main's, which sets it before any test runs.
var inProcess Command

// Read runs "ktrace read" with JSON output in the test's own process, which is what a process of its own does: reading needs
// no signal and no privilege. It returns the lines, the exit status and what was said beside the output.
func Read(t testing.TB, args ...string) (lines []Line, status int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, err bytes.Buffer
	status = inProcess(ctx, slices.Concat([]string{"read"}, args, []string{"-o", "json"}), &out, &err)
	if ctx.Err() != nil {
		t.Fatalf("ktrace read %q did not end within %v", args, patience)
	}
	for text := range bytes.Lines(out.Bytes()) {
		lines = append(lines, lineOf(bytes.TrimSuffix(text, []byte("\n"))))
	}
	InTable(t, lines)
	return lines, status, err.String()
}

// lineOf is what a line of output is. It keeps the text.
func lineOf(text []byte) Line {
	l := Line{Raw: text}
	if json.Unmarshal(text, &l) != nil {
		l.Type = "text"
	}
	return l
}
