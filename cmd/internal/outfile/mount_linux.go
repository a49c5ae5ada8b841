// SPDX-License-Identifier: Apache-2.0

package outfile

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mounted reports whether a file is mounted by itself, as in a container, or whether that is not known: then it cannot be
// replaced.
func mounted(place string) bool {
	var file, dir unix.Statx_t
	for of, to := range map[string]*unix.Statx_t{place: &file, filepath.Dir(place): &dir} {
		if err := unix.Statx(unix.AT_FDCWD, of, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, to); err != nil {
			return true
		}
	}
	return file.Mnt_id != dir.Mnt_id
}
