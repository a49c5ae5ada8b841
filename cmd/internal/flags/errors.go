// SPDX-License-Identifier: Apache-2.0

// Package flags is what the command lines of all verbs share: flags, expressions, and errors with their exit status. It knows
// of no kernel, and builds on every system.
package flags

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"ktrace/cmd/internal/outfile"
	"ktrace/decoder/printable"
)

// Exit statuses.
const (
	ExitOK       = 0
	ExitFailed   = 1
	ExitUsage    = 2
	ExitFindings = 3
)

// ErrFindings ends a run with --fail-on that had such findings.
var ErrFindings = errors.New("findings")

// UsageError is a mistake in the command line; its text names the remedy.
type UsageError struct{ text string }

// Error implements error.
func (e UsageError) Error() string { return e.text }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Sprintf(format, args...)} }

// Exit reports err on w, unless it need not be known, and returns the exit status. An error is not hidden by another that
// came with it: neither by findings, nor by a reader that has gone.
func Exit(w io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	w = printable.NewLines(w)
	status, said := ExitOK, map[string]bool{}
	for _, e := range leaves(err) {
		var usage UsageError
		this := ExitFailed
		switch {
		case errors.Is(e, syscall.EPIPE), errors.Is(e, context.Canceled):
			continue // a reader that had enough is no failure
		case errors.Is(e, ErrFindings):
			this = ExitFindings
		case errors.As(e, &usage), errors.Is(e, outfile.ErrUsed):
			this = ExitUsage
		}
		if text := e.Error(); this != ExitFindings && !said[text] {
			said[text] = true
			fmt.Fprintf(w, "ktrace: %s%s\n", text, stdoutRemedy(e))
		}
		if status == ExitOK || status == ExitFindings {
			status = this
		}
	}
	return status
}

// leaves are the errors that errors.Join joined, or err itself.
func leaves(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(joined.Unwrap()...).Error() {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}

// stdoutRemedy is what to do about an error of writing to standard output, whose file is not known.
func stdoutRemedy(err error) string {
	var path *os.PathError
	switch {
	case !errors.As(err, &path) || path.Path != os.Stdout.Name():
		return ""
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "; make room where standard output goes, or send it elsewhere"
	}
	return "; send standard output elsewhere"
}
