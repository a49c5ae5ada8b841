// SPDX-License-Identifier: Apache-2.0

//go:build linux

package outfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// old is a file with something in it.
func old(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func create(t *testing.T, g *Guard, name string) *File {
	t.Helper()
	f, err := g.Create("-w", name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// alone checks that a directory has nothing but one file.
func alone(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != want {
		t.Errorf("there are %v, want %v: %v", entries, want, err)
	}
}

func TestAFileInUseIsRefusedByWhateverName(t *testing.T) {
	dir := t.TempDir()
	path := old(t, dir, "x")
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symlink, hardlink := filepath.Join(dir, "s"), filepath.Join(dir, "h")
	if err := errors.Join(os.Symlink("x", symlink), os.Link(path, hardlink)); err != nil {
		t.Fatal(err)
	}
	var input, output Guard
	if err := input.Reads("FILE", file); err != nil {
		t.Fatal(err)
	}
	first := create(t, &output, path)
	for _, name := range []string{
		path, dir + "/./x", symlink, hardlink, fmt.Sprintf("/dev/fd/%d", file.Fd()), fmt.Sprintf("/proc/self/fd/%d", file.Fd()),
		fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()),
	} {
		for _, g := range []*Guard{&input, &output} {
			if _, err := g.Create("--record", name); !errors.Is(err, ErrUsed) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: error %v, want ErrUsed", name, err)
			}
		}
	}
	if err := input.Writes("standard output", file); !errors.Is(err, ErrUsed) {
		t.Errorf("standard output: error %v, want ErrUsed", err)
	}
	if got := content(t, path); got != "old" {
		t.Errorf("what was there is now %q", got)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if again, err := output.Create("-w", path); err != nil { // as a ring does
		t.Error(err)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestTwoNewFilesOfOneNameAreRefused(t *testing.T) {
	var g Guard
	path := filepath.Join(t.TempDir(), "new")
	f := create(t, &g, path)
	defer f.Close()
	if _, err := g.Create("--record", path); !errors.Is(err, ErrUsed) {
		t.Errorf("error %v, want ErrUsed", err)
	}
}

// TestAFileThatAnotherRunWritesIsRefused: each run has a guard of its own.
func TestAFileThatAnotherRunWritesIsRefused(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "new"), old(t, t.TempDir(), "x")} {
		first, err := (&Guard{}).CreateLive("-w", path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "first"} {
			if _, err := first.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, err := (&Guard{}).Create("-w", path); !errors.Is(err, ErrUsed) {
				t.Errorf("%s, after %q: error %v, want ErrUsed", path, text, err)
			}
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		again := create(t, &Guard{}, path)
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestATerminalOrNullMayBeSeveralThings(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var g Guard
	f := create(t, &g, os.DevNull)
	if err := errors.Join(g.Reads("FILE", null), g.Writes("standard output", null), f.Close()); err != nil {
		t.Error(err)
	}
}

func TestWhatWasThereIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	path := old(t, dir, "x")
	f := create(t, nil, path)
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "old" {
		t.Errorf("before it is complete there is %q", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || content(t, path) != "new" || info.Mode().Perm() != 0o640 {
		t.Errorf("then there is %q of mode %v", content(t, path), info.Mode())
	}
	alone(t, dir, "x")
}

func TestWhatWasThereOutlivesAFailure(t *testing.T) {
	dir := t.TempDir()
	path := old(t, dir, "x")
	f := create(t, nil, path)
	if _, err := f.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if err := f.Discard(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "old" {
		t.Errorf("there is %q", got)
	}
	alone(t, dir, "x")
}

func TestALiveFileIsThereFromItsBeginning(t *testing.T) {
	dir := t.TempDir()
	path := old(t, dir, "x")
	f, err := (*Guard)(nil).CreateLive("-w", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"n", "ne", "new"} {
		if _, err := f.Write([]byte(want[len(want)-1:])); err != nil {
			t.Fatal(err)
		}
		if got := content(t, path); got != want {
			t.Errorf("there is %q, want %q", got, want)
		}
	}
	alone(t, dir, "x")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestASymbolicLinkStays(t *testing.T) {
	dir := t.TempDir()
	path, link := old(t, dir, "x"), filepath.Join(dir, "link")
	if err := os.Symlink("x", link); err != nil {
		t.Fatal(err)
	}
	f := create(t, nil, link)
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink || content(t, path) != "new" {
		t.Errorf("the link is %v, its file %q", info.Mode(), content(t, path))
	}
}

// TestALinkOfAnotherUserWhereAllMayWriteIsRefused: it could lead to any file.
func TestALinkOfAnotherUserWhereAllMayWriteIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make links of others")
	}
	dir := t.TempDir()
	path := old(t, t.TempDir(), "precious")
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, os.ModeSticky|0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(shared, "link")
	if err := errors.Join(os.Symlink(path, link), os.Lchown(link, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	if _, err := (*Guard)(nil).Create("-w", link); err == nil || !strings.Contains(err.Error(), "user 1234") {
		t.Errorf("error %v", err)
	}
	if err := os.Lchown(link, 0, 0); err != nil {
		t.Fatal(err)
	}
	if f, err := (*Guard)(nil).Create("-w", link); err != nil {
		t.Errorf("a link of one's own: %v", err)
	} else if err := f.Discard(); err != nil || content(t, path) != "old" {
		t.Errorf("error %v, the file has %q", err, content(t, path))
	}
}

func TestAPipeIsWrittenAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		r, err := os.Open(path)
		if err != nil {
			t.Error(err)
		}
		defer r.Close()
		text, _ := io.ReadAll(r)
		got <- string(text)
	}()
	f := create(t, nil, path)
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "new" {
		t.Errorf("read %q", text)
	}
}

// TestADescriptorGoesOnWhereItIs: what was written to it before stays.
func TestADescriptorGoesOnWhereItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("before "); err != nil {
		t.Fatal(err)
	}
	f := create(t, nil, fmt.Sprintf("/dev/fd/%d", file.Fd()))
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "before new" {
		t.Errorf("there is %q", got)
	}
}

func TestErrorsNameTheFileAndTheRemedy(t *testing.T) {
	full := create(t, nil, "/dev/full")
	defer full.Close()
	_, err := full.Write([]byte("x"))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "-w /dev/full: ") || !strings.Contains(err.Error(), `"df -h /dev"`) {
		t.Errorf("error %v", err)
	}
	if _, err := (*Guard)(nil).Create("--record", "/nonexistent/x"); err == nil || !strings.Contains(err.Error(), `--record /nonexistent/x: no such file or directory; "mkdir -p /nonexistent"`) {
		t.Errorf("error %v", err)
	}
}

// TestWhatCannotTakeItsPlaceStaysBeside has a directory come there meanwhile.
func TestWhatCannotTakeItsPlaceStaysBeside(t *testing.T) {
	for _, live := range []bool{false, true} {
		dir := t.TempDir()
		path := old(t, dir, "x")
		f := create(t, nil, path)
		f.live = live
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
			t.Fatal(err)
		}
		_, err := f.Write([]byte("new"))
		if live {
			err = errors.Join(err, f.Discard())
		} else {
			err = errors.Join(err, f.Close())
		}
		if err == nil || !strings.Contains(err.Error(), "-w "+path+": what was written is in "+f.beside+": ") || content(t, f.beside) != "new" {
			t.Errorf("live %v: error %v", live, err)
		}
	}
}

func TestAFileThatIsRemovedIsAnError(t *testing.T) {
	for _, before := range []string{"", "old"} {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := (*Guard)(nil).CreateLive("-w", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); !errors.Is(err, errRemoved) || !strings.Contains(err.Error(), "-w "+path+": ") {
			t.Errorf("error %v", err)
		}
	}
}

// TestWhatNeverHadANameIsNotMissed writes to a file that another has open, and removed on purpose.
func TestWhatNeverHadANameIsNotMissed(t *testing.T) {
	for _, format := range []string{"/dev/fd/%[2]d", "/proc/%[1]d/fd/%[2]d"} {
		path := filepath.Join(t.TempDir(), "x")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		f := create(t, nil, fmt.Sprintf(format, os.Getpid(), file.Fd()))
		if _, err := f.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTheRemedyIsForWhereTheFileIs, not for where a link to it is.
func TestTheRemedyIsForWhereTheFileIs(t *testing.T) {
	dir := t.TempDir()
	for name, to := range map[string]string{"first": "second", "second": "/dev/full"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f := create(t, nil, filepath.Join(dir, "first"))
	defer f.Close()
	if _, err := f.Write([]byte("x")); err == nil || !strings.Contains(err.Error(), `"df -h /dev"`) {
		t.Errorf("error %v", err)
	}
}

func TestWhetherAFileCanBeMadeLater(t *testing.T) {
	dir := t.TempDir()
	if err := Writable("-w", filepath.Join(dir, "x")); err != nil {
		t.Error(err)
	}
	if err := Writable("-w", filepath.Join(dir, "no", "x")); err == nil || !strings.Contains(err.Error(), "mkdir -p "+dir+"/no") {
		t.Errorf("error %v", err)
	}
}
