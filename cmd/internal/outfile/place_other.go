// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package outfile

import (
	"fmt"
	"os"
	"path/filepath"
)

// place is where a file lies or is to lie. Only on Linux ktrace runs with more rights than who can write there, so here the
// system resolves the path.
type place struct {
	dir, base string
	open      bool // never: see above
	inProc    bool
}

// locate follows the symbolic links to where a file is or is to be.
func locate(name string) (*place, error) {
	for range 40 {
		to, err := os.Readlink(name)
		if err != nil {
			return &place{dir: filepath.Dir(name), base: filepath.Base(name)}, nil
		}
		if info, err := os.Lstat(name); err == nil && !mine(ownerOf(info)) {
			return nil, fmt.Errorf("%s is a symbolic link of user %d: name the file that is meant", filepath.Base(name), ownerOf(info))
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		name = to
	}
	return nil, fmt.Errorf("too many symbolic links")
}

func (p *place) lstat() (os.FileInfo, error) { return os.Lstat(filepath.Join(p.dir, p.base)) }

// openAt opens a name in the directory, for writing.
func (p *place) openAt(name string, flags int, mode os.FileMode) (*os.File, error) {
	return os.OpenFile(filepath.Join(p.dir, name), os.O_WRONLY|flags, mode)
}

// mounted reports whether the file is mounted by itself: only Linux mounts files.
func (p *place) mounted() bool { return false }

// rename has a file in the directory take the place.
func (p *place) rename(from string) error {
	return os.Rename(filepath.Join(p.dir, from), filepath.Join(p.dir, p.base))
}

// remove removes a file in the directory.
func (p *place) remove(name string) error { return os.Remove(filepath.Join(p.dir, name)) }

// Close implements nothing here.
func (p *place) Close() {}
