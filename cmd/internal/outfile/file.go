// SPDX-License-Identifier: Apache-2.0

package outfile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// File is an output in the making. Its errors name it, and what to do.
//
// Where there was a file with something in it, the new one is written beside it, and takes its place by Close; a live one
// does with the first that is written, so that it is there even if this process is killed. What is no such file (a pipe,
// a device, another descriptor of this process) is written as it is.
type File struct {
	file   *os.File
	what   string // the flag
	name   string // as it was given
	place  string // where the file belongs once it is there; "" if it is there
	beside string // where it is until then
	live   bool
	guard  *Guard
	use    *use

	nameless bool // from the start, as another process's open file may be
	written  bool
}

// CreateLive is Create for what comes as it happens, and cannot be had again.
func (g *Guard) CreateLive(what, name string) (*File, error) {
	f, err := g.Create(what, name)
	if err == nil {
		f.live = true
	}
	return f, err
}

// Create opens an output. It fails with ErrUsed, and leaves everything as it is, if the file has another use.
func (g *Guard) Create(what, name string) (*File, error) {
	f := &File{what: what, name: name, guard: g}
	old, err := open(name)
	if err != nil {
		return nil, f.explain(err)
	}
	f.file, f.nameless = old, nameless(old)
	if f.use, err = g.claim(f.title(), old); err == nil {
		err = lock(old)
	}
	if err == nil {
		err = f.spare()
	}
	if err != nil {
		old.Close() // nothing was written
		g.release(f.use)
		return nil, f.explain(err)
	}
	return f, nil
}

// open opens what is there, or makes a file, and changes nothing. Not for reading too: a pipe must be broken when its
// reader has gone.
func open(name string) (*os.File, error) {
	if n, ok := descriptor(name); ok {
		return duplicate(n, name)
	}
	if err := trusted(name); err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
}

// lock refuses a file that another ktrace writes: one would overwrite, or take the place of, what the other writes. Where
// there are no locks, it does not.
func lock(file *os.File) error {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	if taken(file) {
		return fmt.Errorf("%w: another process writes it; name another one", ErrUsed)
	}
	return nil
}

// descriptor is the number of the open file of this process that a name stands for. Opened by name it would be written
// from its beginning.
func descriptor(name string) (int, bool) {
	if name == "/dev/stdout" {
		return 1, true
	}
	dir, base := filepath.Split(filepath.Clean(name))
	n, err := strconv.Atoi(base)
	return n, err == nil && n >= 0 && (dir == "/dev/fd/" || dir == "/proc/self/fd/")
}

// IsStdout reports whether a name stands for standard output.
func IsStdout(name string) bool {
	n, ok := descriptor(name)
	return name == "-" || ok && n == 1
}

// trusted refuses a symbolic link that another user left where all may write: it could lead a privileged process
// to any file. Linux does so itself where fs.protected_symlinks is 1.
func trusted(name string) error {
	link, err := os.Lstat(name)
	if err != nil || link.Mode().Type() != os.ModeSymlink {
		return nil // opening it gives the error
	}
	dir, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	const shared = os.ModeSticky | 0o002
	owner := ownerOf(link)
	if dir.Mode()&shared == shared && owner != uint32(os.Geteuid()) && owner != ownerOf(dir) {
		return fmt.Errorf("is a symbolic link of user %d in a directory that everybody may write to: name the file that is meant", owner)
	}
	return nil
}

// spare makes the file beside the one that is there, if that has something to lose and can be replaced.
func (f *File) spare() error {
	info, err := f.file.Stat()
	if _, ok := descriptor(f.name); ok || err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return err
	}
	place, ok := replaceable(f.name, info)
	if !ok {
		return f.file.Truncate(0)
	}
	beside, err := createBeside(place, info.Mode().Perm())
	switch {
	case errors.Is(err, os.ErrPermission): // of the directory
		return f.file.Truncate(0)
	case err != nil:
		return err
	}
	f.file.Close() // nothing was written
	f.file, f.place, f.beside = beside, place, beside.Name()
	now, err := beside.Stat()
	if err == nil {
		err = lock(beside)
	}
	if err != nil {
		return errors.Join(err, f.Discard())
	}
	f.guard.extend(f.use, now)
	return nil
}

// replaceable returns where a file is, links followed. One that is mounted by itself, as in a container, or has no name
// any more, cannot be replaced.
func replaceable(name string, info os.FileInfo) (string, bool) {
	place, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", false
	}
	there, err := os.Lstat(place)
	if err != nil || !os.SameFile(there, info) {
		return "", false
	}
	return place, !mounted(place)
}

// createBeside makes a file in the directory of another.
func createBeside(place string, mode os.FileMode) (*os.File, error) {
	const longest = 200 // of a name, so that the rest fits into what file systems take
	dir, base := filepath.Split(place)
	base = base[:min(len(base), longest)]
	for {
		name := fmt.Sprintf("%s.%s.%08x", dir, base, rand.Uint32())
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, os.ErrExist) {
			return file, err
		}
	}
}

// Write implements io.Writer.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.file.Write(b)
	f.written = f.written || n > 0
	if err == nil && f.live {
		err = f.replace()
	}
	return n, f.explain(err)
}

// replace has the file take its place. If it cannot, what was written stays beside.
func (f *File) replace() error {
	if f.place == "" {
		return nil
	}
	place := f.place
	f.place = ""
	if err := os.Rename(f.beside, place); err != nil {
		return fmt.Errorf("what was written is in %s: %w", f.beside, err)
	}
	return nil
}

// Close completes the file.
func (f *File) Close() error {
	f.guard.release(f.use)
	err := f.removed()
	if err = errors.Join(err, f.file.Close()); err == nil {
		err = f.replace()
	}
	return f.explain(err)
}

// errRemoved is what became of a file that is no longer there at its end.
var errRemoved = errors.New("was removed while it was written, and what was written is lost; write where no cleaner runs")

// removed is an error if what was written is lost: the file, or its directory, was removed meanwhile.
func (f *File) removed() error {
	if f.written && !f.nameless && nameless(f.file) {
		return errRemoved
	}
	return nil
}

// Discard closes the file, and leaves what it would have replaced, if anything, as it was.
func (f *File) Discard() error {
	f.guard.release(f.use)
	err := f.file.Close()
	if f.place != "" {
		err = errors.Join(err, os.Remove(f.beside))
	}
	return f.explain(err)
}

func (f *File) title() string { return strings.TrimSpace(f.what + " " + f.name) }

// explain names the file that an error is of, and what to do about it.
func (f *File) explain(err error) error {
	if err == nil {
		return nil
	}
	if path, ok := err.(*os.PathError); ok {
		err = path.Err // its name may be that of the file beside
	}
	return fmt.Errorf("%s: %w%s", f.title(), err, Remedy(err, directory(f.name)))
}

// directory is where a file lies, or is to lie, links followed.
func directory(name string) string {
	for range 8 { // links to links
		to, err := os.Readlink(name)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		name = to
	}
	return filepath.Dir(name)
}

// Writable is an error if no file can be made in the directory of a file that is to be written later.
func Writable(what, name string) error {
	f := File{what: what, name: name}
	return f.explain(writable(directory(name)))
}

// Remedy is what to do about an error of writing into a directory, "" if nothing is known.
func Remedy(err error, dir string) string {
	for _, r := range []struct {
		err  error
		text string
	}{
		{syscall.ENOSPC, `; make room there ("df -h %s" shows how much is left), or write elsewhere`},
		{syscall.EDQUOT, `; make room there ("quota -s" shows how much is left), or write elsewhere, not to %s`},
		{syscall.EROFS, `; write elsewhere: the file system of %s is read-only`},
		{os.ErrPermission, `; write elsewhere, or as a user who may write to %s`},
		{os.ErrNotExist, `; "mkdir -p %s" makes the directory`},
		{syscall.EISDIR, `; name a file in it, or one in %s`},
		{syscall.EIO, `; "dmesg --level=err,warn" shows the errors of the disk below %s`},
	} {
		if errors.Is(err, r.err) {
			return fmt.Sprintf(r.text, dir)
		}
	}
	return ""
}
