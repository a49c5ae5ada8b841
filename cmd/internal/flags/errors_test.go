// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestNoErrorIsHiddenByAnother(t *testing.T) {
	full := fmt.Errorf("--record x: %w", syscall.ENOSPC)
	stdout := func(err error) error { return &os.PathError{Op: "write", Path: os.Stdout.Name(), Err: err} }
	for _, tt := range []struct {
		name   string
		err    error
		status int
		said   string
	}{
		{"nothing", nil, 0, ""},
		{"a reader that has gone", fmt.Errorf("write: %w", syscall.EPIPE), 0, ""},
		{"a full disk", full, 1, "ktrace: --record x: no space left on device\n"},
		{"findings", ErrFindings, 3, ""},
		{"findings and a full disk", errors.Join(ErrFindings, full), 1, "ktrace: --record x: no space left on device\n"},
		{"a full disk and a reader that has gone", errors.Join(errors.Join(syscall.EPIPE, full), context.Canceled), 1, "ktrace: --record x: no space left on device\n"},
		{"findings and a reader that has gone", errors.Join(syscall.EPIPE, ErrFindings), 3, ""},
		{"the same twice", errors.Join(full, errors.Join(full)), 1, "ktrace: --record x: no space left on device\n"},
		{"standard output, on a full disk", stdout(syscall.ENOSPC), 1, "ktrace: write /dev/stdout: no space left on device; make room where standard output goes, or send it elsewhere\n"},
		{"standard output, on a disk that is read-only now", stdout(syscall.EROFS), 1, "ktrace: write /dev/stdout: read-only file system; send standard output elsewhere\n"},
		{"usage", Usagef("want a file"), 2, "ktrace: want a file\n"},
		{"an error of two", fmt.Errorf("%w (%w)", full, syscall.EIO), 1, "ktrace: --record x: no space left on device (input/output error)\n"},
	} {
		var said strings.Builder
		if status := Exit(&said, tt.err); status != tt.status || said.String() != tt.said {
			t.Errorf("%s: status %d, said %q", tt.name, status, said.String())
		}
	}
}
