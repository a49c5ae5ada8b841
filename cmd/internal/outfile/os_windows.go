// SPDX-License-Identifier: Apache-2.0

package outfile

import (
	"errors"
	"os"
)

// duplicate opens once more what this process has open: no name stands for that on Windows.
func duplicate(_ int, name string) (*os.File, error) {
	return nil, &os.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// taken reports whether another process has the file: Windows refuses to open one that it writes.
func taken(*os.File) bool { return false }

// ownerOf is the user that a file belongs to: Windows numbers none.
func ownerOf(os.FileInfo) uint32 { return 0 }

// nameless reports whether an open file has no name: on Windows an open file cannot be removed.
func nameless(*os.File) bool { return false }

// writable is an error if no file can be made in a directory; on Windows only the attempt shows it.
func writable(dir string) error {
	_, err := os.Stat(dir)
	return err
}

// full reports whether a file takes nothing more at present, as far as is known here.
func full(*os.File) bool { return true }
