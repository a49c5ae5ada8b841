// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadFile reads a regular file below the process's root, most bytes of it, if the process's user may read it by the modes of
// the file and of each directory on the way, else the error is ErrPrivate. Whose root is the node's, or has some of its directories,
// may lead a name to any file. owner is the user of the very file that was read.
func (p Process) ReadFile(name string, most int) (text []byte, owner uint32, err error) {
	type result struct {
		text  []byte
		owner uint32
	}
	r, err := within(p.fs, p.owner(), readWithin, func() (r result, err error) {
		r.text, r.owner, err = p.readFile(name, most)
		return r, err
	})
	return r.text, r.owner, err
}

func (p Process) readFile(name string, most int) (text []byte, owner uint32, err error) {
	self, err := openDir(unix.AT_FDCWD, p.dir) // of this process, also if another gets its number
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(self)
	root, err := openDir(self, "root")
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(root)
	w := walk{user: userOf(self), root: root}
	defer w.leave(0)
	fd, st, err := w.open(name)
	if err != nil {
		return nil, 0, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	text, err = readAll(fmt.Sprintf("/proc/self/fd/%d", fd), most) // the very file that was looked at
	return text, st.Uid, err
}

func openDir(at int, name string) (int, error) {
	fd, err := again(func() (int, error) {
		return unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// again makes a system call until no signal interrupts it.
func again[T any](call func() (T, error)) (T, error) {
	for {
		if v, err := call(); !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

// nobody owns no file.
const nobody = ^uint32(0)

// userOf is the user as whom a process opens files, nobody if that cannot be known.
func userOf(process int) uint32 {
	fd, err := again(func() (int, error) { return unix.Openat(process, "status", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nobody
	}
	defer unix.Close(fd)
	text, _ := readFD(fd, firstLines) // whose first lines are the wanted ones
	for line := range strings.Lines(string(text)) {
		ids, ok := strings.CutPrefix(line, "Uid:") // real, effective, saved, of the file system
		if fields := strings.Fields(ids); ok && len(fields) == 4 {
			if id, err := strconv.ParseUint(fields[3], 10, 32); err == nil {
				return uint32(id)
			}
		}
	}
	return nobody
}

// walk resolves a name one directory after the other, below a root, as a user without capabilities would. openat2 resolves with
// the capabilities of ktrace.
type walk struct {
	user  uint32
	root  int
	dirs  []int // below the root, down to where it is
	links int
}

const (
	mostLinks = 40 // MAXSYMLINKS of the kernel
	mostDirs  = 64 // below one another
	mayRead   = 0o4
	maySearch = 0o1
)

// open opens a regular file that the user may read, for its identity.
func (w *walk) open(name string) (fd int, st unix.Stat_t, err error) {
	if err := unix.Fstat(w.root, &st); err != nil {
		return -1, st, err
	}
	if !w.may(w.root, &st, maySearch) {
		return -1, st, ErrPrivate
	}
	parts := strings.Split(name, "/")
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			w.leave(max(len(w.dirs)-1, 0))
			continue
		}
		fd, st, err := w.look(part)
		if err != nil {
			return -1, st, err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			err = w.enter(fd, &st)
		case unix.S_IFLNK:
			var to []string
			to, err = w.follow(fd)
			parts = append(to, parts...)
		case unix.S_IFREG:
			switch {
			case len(parts) > 0:
				err = unix.ENOTDIR
			case !w.may(fd, &st, mayRead):
				err = ErrPrivate
			default:
				return fd, st, nil
			}
			unix.Close(fd)
		default:
			unix.Close(fd)
			err = ErrNotRegular
		}
		if err != nil {
			return -1, st, err
		}
	}
	return -1, st, ErrNotRegular // a directory
}

// look opens an entry of the directory where the walk is, for its identity.
func (w *walk) look(name string) (fd int, st unix.Stat_t, err error) {
	at := w.root
	if n := len(w.dirs); n > 0 {
		at = w.dirs[n-1]
	}
	fd, err = again(func() (int, error) {
		return unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// enter goes down into a directory, whose descriptor is the walk's then.
func (w *walk) enter(dir int, st *unix.Stat_t) error {
	w.dirs = append(w.dirs, dir)
	switch {
	case len(w.dirs) > mostDirs:
		return unix.ENAMETOOLONG
	case !w.may(dir, st, maySearch):
		return ErrPrivate
	}
	return nil
}

// leave goes up again until it is so many directories below the root.
func (w *walk) leave(depth int) {
	for _, fd := range w.dirs[depth:] {
		unix.Close(fd)
	}
	w.dirs = w.dirs[:depth]
}

// follow is where a link leads, and closes it. Links of proc lead anywhere, and are refused.
func (w *walk) follow(link int) (parts []string, err error) {
	defer unix.Close(link)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(link, &fs); err != nil {
		return nil, err
	}
	if w.links++; w.links > mostLinks || fs.Type == unix.PROC_SUPER_MAGIC {
		return nil, unix.ELOOP
	}
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", text)
	if err != nil {
		return nil, err
	}
	if n > 0 && text[0] == '/' {
		w.leave(0)
	}
	return strings.Split(string(text[:n]), "/"), nil
}

// may reports whether the user may do something with a file: its owner by the owner's bits, else what all others may, so
// that the groups of the process are none of the question. A list of access control may deny one what others may.
func (w *walk) may(fd int, st *unix.Stat_t, what uint32) bool {
	if st.Uid == w.user {
		return st.Mode&(what<<6) != 0
	}
	others := what<<3 | what
	return st.Mode&others == others && !hasACL(fd)
}

// hasACL reports whether a file has a list of access control (acl(5)), or none can know.
func hasACL(fd int) bool {
	_, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", fd), "system.posix_acl_access", nil)
	return err == nil || !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP)
}
