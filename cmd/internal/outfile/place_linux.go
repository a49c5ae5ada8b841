// SPDX-License-Identifier: Apache-2.0

package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where a file lies or is to lie: a name in an open directory, so that nobody leads what is done there elsewhere by
// exchanging a part of the path.
type place struct {
	dir    *os.File // O_PATH
	base   string
	open   bool // others may write to the directory, or to one above it that leads here by what they own
	inProc bool // the name is a link of /proc to what a process has open
}

// maxLinks is how many symbolic links a path may pass, as the kernel's MAXSYMLINKS.
const maxLinks = 40

// locate walks to where a file is or is to be, through symbolic links that can be trusted. A link in a directory that others may
// write to must be root's or one's own, as with fs.protected_symlinks; the last one must be so anywhere, for it alone
// can have a file overwritten that nobody named.
func locate(name string) (*place, error) {
	at := &place{}
	if err := at.enter(unix.AT_FDCWD, ".", 0); err != nil {
		return nil, err
	}
	rest, links := name, 0
	for {
		if strings.HasPrefix(rest, "/") {
			at.open = false
			if err := at.enter(unix.AT_FDCWD, "/", 0); err != nil {
				return nil, err
			}
		}
		at.base, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		last := strings.Trim(rest, "/") == ""
		if at.base == "" || at.base == "." && last {
			return at, at.fail(unix.EISDIR)
		}
		to, err := at.step(last)
		if err != nil || to == "" && last {
			return at, at.fail(err)
		}
		if to != "" {
			if links++; links > maxLinks {
				return nil, at.fail(unix.ELOOP)
			}
			rest = strings.TrimRight(to+"/"+rest, "/")
		}
	}
}

// step enters the directory that base names, or returns where it leads if it is a symbolic link. The last name is not entered.
func (p *place) step(last bool) (to string, err error) {
	info, err := p.lstat()
	if errors.Is(err, fs.ErrNotExist) && last {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	link, owner := info.Mode().Type() == os.ModeSymlink, ownerOf(info)
	if link && !mine(owner) && (p.open || last) {
		return "", fmt.Errorf("%s is a symbolic link of user %d: name the file that is meant", p.base, owner)
	}
	switch {
	case link && p.proc(): // to what a process has open, which the text of the link need not name
		p.inProc = last
		if last {
			return "", nil
		}
		return "", p.enter(int(p.dir.Fd()), p.base, 0)
	case link:
		return readlink(p.dir, p.base)
	case last:
		return "", nil
	}
	open := p.open
	err = p.enter(int(p.dir.Fd()), p.base, unix.O_NOFOLLOW)
	p.open = p.open || open && !mine(owner)
	return "", err
}

// enter opens a directory in place of the one that is open.
func (p *place) enter(dir int, name string, flags int) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return err
	}
	p.Close()
	p.dir = os.NewFile(uintptr(fd), name)
	info, err := p.dir.Stat()
	p.open = err != nil || info.Mode().Perm()&0o002 != 0
	return err
}

// fail closes the directory if there is an error.
func (p *place) fail(err error) error {
	if err != nil {
		p.Close()
	}
	return err
}

// proc reports whether the directory is one of /proc.
func (p *place) proc() bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(p.dir.Fd()), &s) == nil && s.Type == unix.PROC_SUPER_MAGIC
}

// lstat is what the name stands for, links not followed.
func (p *place) lstat() (os.FileInfo, error) {
	fd, err := unix.Openat(int(p.dir.Fd()), p.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), p.base)
	defer file.Close()
	return file.Stat()
}

// openAt opens a name in the directory, for writing. Not for reading too: a pipe must be broken when its reader has gone.
func (p *place) openAt(name string, flags int, mode os.FileMode) (*os.File, error) {
	if !p.inProc {
		flags |= unix.O_NOFOLLOW
	}
	for {
		fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY|flags, uint32(mode.Perm()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return pollable(fd, name), nil
	}
}

// pollable is an open file whose blocked writes end when it is closed, where the kernel has that: a pipe's.
func pollable(fd int, name string) *os.File {
	var s unix.Stat_t
	pipe := unix.Fstat(fd, &s) == nil && s.Mode&unix.S_IFMT == unix.S_IFIFO
	_ = unix.SetNonblock(fd, pipe) // as os.OpenFile does
	return os.NewFile(uintptr(fd), name)
}

// mounted reports whether the file is mounted by itself, as in a container, or whether that is not known: then it cannot be
// replaced.
func (p *place) mounted() bool {
	var file, dir unix.Statx_t
	err := errors.Join(
		unix.Statx(int(p.dir.Fd()), p.base, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &file),
		unix.Statx(int(p.dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &dir))
	return err != nil || file.Mnt_id != dir.Mnt_id
}

// rename has a file in the directory take the place.
func (p *place) rename(from string) error {
	return unix.Renameat(int(p.dir.Fd()), from, int(p.dir.Fd()), p.base)
}

// remove removes a file in the directory.
func (p *place) remove(name string) error { return unix.Unlinkat(int(p.dir.Fd()), name, 0) }

// Close closes the directory.
func (p *place) Close() {
	if p != nil && p.dir != nil {
		p.dir.Close() // nothing was written
		p.dir = nil
	}
}

func readlink(dir *os.File, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, b)
	return string(b[:max(n, 0)]), err
}
