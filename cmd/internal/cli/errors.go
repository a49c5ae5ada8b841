// Package cli is what the verbs share: flags, errors with their exit status, and the run from flags to summary.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// Exit statuses.
const (
	ExitOK       = 0
	ExitFailed   = 1
	ExitUsage    = 2
	ExitFindings = 3
)

// ErrFindings ends a run that was asked to fail on findings and had some.
var ErrFindings = errors.New("findings")

// UsageError is a mistake in the command line; its text names the remedy.
type UsageError struct{ text string }

// Error implements error.
func (e UsageError) Error() string { return e.text }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Sprintf(format, args...)} }

// Exit reports err on w, unless nobody needs to be told, and returns the exit status.
func Exit(w io.Writer, err error) int {
	var usage UsageError
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE), errors.Is(err, context.Canceled):
		return ExitOK // a reader that had enough is no failure
	case errors.Is(err, ErrFindings):
		return ExitFindings
	case errors.As(err, &usage):
		fmt.Fprintf(w, "ktrace: %v\n", err)
		return ExitUsage
	}
	fmt.Fprintf(w, "ktrace: %v\n", err)
	return ExitFailed
}
