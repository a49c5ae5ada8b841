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
	"time"
)

// File is an output in the making. Its errors name it, and what to do.
//
// A new file is its user's alone (0600): recordings and captures may hold secrets. Where there was a file with something in it, or
// another user's, the new one is written beside it, and takes its place by Close; a live one does with the first that is written, so
// that it is there even if this process is killed. What is no such file (a pipe, a device, another descriptor of this process) is
// written as it is, unless others could have put it there for ktrace to write to.
type File struct {
	file   *os.File
	what   string // the flag
	name   string // as it was given
	at     *place // nil for a descriptor
	beside string // in the same directory: where the file is until it takes its place
	waits  bool   // to take it
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
	if err := f.open(); err != nil {
		f.at.Close()
		return nil, f.explain(err)
	}
	f.nameless = nameless(f.file)
	var err error
	if f.use, err = g.claim(f.title(), f.file); err == nil {
		err = lock(f.file)
	}
	if err == nil {
		err = f.spare()
	}
	if err != nil {
		f.file.Close() // nothing was written
		f.at.Close()
		g.release(f.use)
		return nil, f.explain(err)
	}
	return f, nil
}

// open opens what is there, or makes a file, and changes nothing.
func (f *File) open() (err error) {
	if n, ok := descriptor(f.name); ok {
		f.file, err = duplicate(n, f.name)
		return err
	}
	if f.at, err = locate(f.name); err != nil {
		return err
	}
	if f.at.inProc {
		f.file, err = f.at.openAt(f.at.base, 0, 0)
		return err
	}
	f.file, err = f.at.openAt(f.at.base, os.O_CREATE|os.O_EXCL, private)
	if errors.Is(err, os.ErrExist) {
		err = f.openThere()
	}
	return err
}

// private is the mode of new files.
const private = 0o600

// errExchanged is returned for a file that another took the place of while it was opened.
var errExchanged = errors.New("is exchanged by another process meanwhile; write to a directory of your own")

// openOr opens what is there. A pipe without a reader is waited for until the run is to end, and so is its reader.
func (f *File) openOr(info os.FileInfo, flags int) (*os.File, error) {
	if f.guard == nil || f.guard.Done == nil || info.Mode().Type() != os.ModeNamedPipe {
		return f.at.openAt(f.at.base, flags, 0)
	}
	for {
		file, err := f.at.openAt(f.at.base, syscall.O_NONBLOCK, 0)
		if err == nil {
			go f.guard.endWrites(file)
		}
		if !errors.Is(err, syscall.ENXIO) {
			return file, err
		}
		select {
		case <-f.guard.Done:
			return nil, errors.New("is a pipe that nobody reads; start its reader first")
		case <-time.After(again):
		}
	}
}

// endWrites has writes to a pipe fail once the run is to end and nothing is read from it any more.
func (g *Guard) endWrites(file *os.File) {
	<-g.Done
	for wait := patience; ; wait = again {
		time.Sleep(wait) // nothing says that something is read
		if full(file) {
			_ = file.SetWriteDeadline(time.Now()) // it may be closed by then
			return
		}
	}
}

// openThere opens what is there.
func (f *File) openThere() error {
	info, err := f.at.lstat()
	if err != nil {
		return err
	}
	flags := 0
	switch owner := ownerOf(info); {
	case info.Mode().IsRegular():
		flags = syscall.O_NONBLOCK // must there be a pipe now, it is not waited for
	case !mine(owner) && f.at.open:
		return fmt.Errorf("is of user %d, in a directory that others may write to: name another one", owner)
	}
	if f.file, err = f.openOr(info, flags); err != nil {
		return err
	}
	if now, err := f.file.Stat(); err != nil || !os.SameFile(now, info) {
		f.file.Close() // nothing was written
		return errors.Join(errExchanged, err)
	}
	return nil
}

// mine reports whether a user is one that puts nothing before ktrace to trip it: root, or who runs it.
func mine(owner uint32) bool { return owner == 0 || owner == uint32(os.Geteuid()) }

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

// spare makes the file beside the one that is there, if that has something to lose, or is another user's, who may have it open.
func (f *File) spare() error {
	info, err := f.file.Stat()
	if err != nil || f.at == nil || f.at.inProc || !info.Mode().IsRegular() {
		return err
	}
	mode, own := os.FileMode(private), mine(ownerOf(info))
	if own {
		mode = info.Mode().Perm()
	}
	if own && info.Size() == 0 {
		return nil
	}
	if f.at.mounted() {
		return f.overwrite(own)
	}
	beside, name, err := f.at.createBeside(mode)
	switch {
	case errors.Is(err, os.ErrPermission): // of the directory
		return f.overwrite(own)
	case err != nil:
		return err
	}
	f.file.Close() // nothing was written
	f.file, f.beside, f.waits = beside, filepath.Join(directory(f.name), name), true
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

// overwrite empties what is there, as it cannot be replaced.
func (f *File) overwrite(own bool) error {
	if !own && f.at.open {
		return errors.New("is another user's, and cannot be replaced: name another one")
	}
	return f.file.Truncate(0)
}

// createBeside makes a file in the same directory.
func (p *place) createBeside(mode os.FileMode) (*os.File, string, error) {
	const longest = 200 // of a name, so that the rest fits into what file systems take
	base := p.base[:min(len(p.base), longest)]
	for {
		name := fmt.Sprintf(".%s.%08x", base, rand.Uint32())
		file, err := p.openAt(name, os.O_CREATE|os.O_EXCL, private)
		switch {
		case errors.Is(err, os.ErrExist):
			continue
		case err == nil && mode != private:
			err = file.Chmod(mode)
		}
		return file, name, err
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
	if !f.waits {
		return nil
	}
	f.waits = false
	if err := f.at.rename(filepath.Base(f.beside)); err != nil {
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
	f.at.Close()
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
	if f.waits {
		err = errors.Join(err, f.at.remove(filepath.Base(f.beside)))
	}
	f.at.Close()
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
