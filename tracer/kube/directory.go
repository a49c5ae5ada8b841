// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// directory keeps what the names in a directory of the kubelet's say, until they change: with thousands of pods it is looked
// at for each of them.
type directory struct {
	path  string
	parse func(name string) (key, value string, ok bool)
	names map[string]string
	mtime unix.Timespec // of the directory as it was read
}

// settled is how old a change must be for no later one to have the same time: file systems count in ticks of the kernel.
const settled = 100 * time.Millisecond

// find returns what a name says. Only what root wrote counts.
func (d *directory) find(key string) (value string, ok bool) {
	d.read()
	value, ok = d.names[key]
	return value, ok
}

func (d *directory) read() {
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil || !writableByRoot(&st) {
		d.names, d.mtime = nil, unix.Timespec{}
		return
	}
	if d.names != nil && st.Mtim == d.mtime {
		return
	}
	d.mtime = st.Mtim
	if time.Since(time.Unix(st.Mtim.Unix())) < settled {
		d.mtime = unix.Timespec{} // to be read again
	}
	d.names = map[string]string{}
	dir, err := os.Open(d.path)
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // those that it has read
	for _, name := range names {
		if key, value, ok := d.parse(name); ok {
			d.names[key] = value
		}
	}
}

// ofRootAt reports whether a name in the directory is itself a directory that only root writes to.
func (d *directory) ofRootAt(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(filepath.Join(d.path, name), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && writableByRoot(&st)
}
