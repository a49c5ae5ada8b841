// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"io"
	"os"

	"golang.org/x/term"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/outfile"
	"ktrace/cmd/internal/print"
	"ktrace/decoder"
	"ktrace/decoder/event"
)

// Printer prints in the format of the flags. Where several files are read, each line has its node.
func Printer(f flags.Flags, quiet, nodes bool, w io.Writer) decoder.Printer {
	var p decoder.Printer = print.NewText(w, print.TextOptions{Wide: f.Output == "wide", Nodes: nodes, NoHeader: f.NoHeader, Colour: coloured(w), Layers: f.Verbose})
	if f.Output == "json" {
		p = print.NewJSON(w)
	}
	if quiet {
		return withoutEvents{p}
	}
	return p
}

// withoutEvents leaves events to the summary.
type withoutEvents struct{ decoder.Printer }

// Event implements decoder.Printer.
func (withoutEvents) Event(event.Event) error { return nil }

// InPlace has each summary take the place of the one before, where a person looks at a terminal; elsewhere it changes nothing.
func InPlace(p decoder.Printer, w io.Writer) decoder.Printer {
	if !IsTerminal(w) {
		return p
	}
	return inPlace{p, w}
}

type inPlace struct {
	decoder.Printer
	w io.Writer
}

// Summary implements decoder.Printer.
func (p inPlace) Summary(s event.Summary) error {
	const homeAndErase = "\x1b[H\x1b[J"
	if _, err := io.WriteString(p.w, homeAndErase); err != nil {
		return err
	}
	return p.Printer.Summary(s)
}

// coloured follows https://no-color.org.
func coloured(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && IsTerminal(w) }

// IsTerminal reports whether what is written there is read by a person at once.
func IsTerminal(w io.Writer) bool {
	file, ok := outfile.FileOf(w)
	return ok && term.IsTerminal(int(file.Fd()))
}

// GuardStdout has a guard know standard output, by what is written there.
func GuardStdout(guard *outfile.Guard, write string, s Streams) error {
	out, ok := outfile.FileOf(s.Out)
	if !ok {
		return nil
	}
	what := "standard output"
	if write == "-" {
		what = "-w -"
	}
	return guard.Writes(what, out)
}
