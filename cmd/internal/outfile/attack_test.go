// SPDX-License-Identifier: Apache-2.0

//go:build linux

package outfile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

const attacker = 1234

// world is a directory that everybody may write to, as /tmp is, with nothing of the test's user above it that would keep
// the attacker out.
func world(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user's victim")
	}
	dir, err := os.MkdirTemp("/tmp", "ktout")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, os.ModeSticky|0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// attack runs a script as a user without privileges.
func attack(t *testing.T, dir, script string) {
	t.Helper()
	c := exec.Command("sh", "-c", "umask 0; "+script)
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: attacker, Gid: attacker}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// TestWhatOthersPlantedIsNotWrittenTo: what an attacker put where ktrace will write is refused, or replaced by a file that only
// its user reads. A file elsewhere is never touched.
func TestWhatOthersPlantedIsNotWrittenTo(t *testing.T) {
	for _, tt := range []struct {
		name, plant, write string
		refused            bool
	}{
		{"nothing", "true", "out", false},
		{"link", "ln -s ../PRECIOUS out", "out", true},
		{"link to nothing", "ln -s ../PRECIOUS.new out", "out", true},
		{"link for a directory", "ln -s .. dir", "dir/PRECIOUS", true},
		{"links in a directory of theirs", "mkdir dir; ln -s ../.. dir/up", "dir/up/PRECIOUS", true},
		{"link in a directory of theirs", "mkdir dir; ln -s ../../PRECIOUS dir/out", "dir/out", true},
		{"pipe", "mkfifo out", "out", true},
		{"pipe in a directory of theirs", "mkdir dir; mkfifo dir/out", "dir/out", true},
		{"empty file", ": >out", "out", false},
		{"file", "echo old >out", "out", false},
		{"directory of theirs", "mkdir dir", "dir/out", false},
		{"file in a directory of theirs", "mkdir dir; : >dir/out", "dir/out", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := world(t)
			precious := old(t, filepath.Dir(dir), filepath.Base(dir)+".precious")
			t.Cleanup(func() { os.Remove(precious) })
			put := strings.NewReplacer("PRECIOUS", filepath.Base(precious))
			attack(t, dir, put.Replace(tt.plant))
			path := filepath.Join(dir, put.Replace(tt.write))
			var theirs *os.File // open, as who planted it may have it
			if !tt.refused {
				theirs, _ = os.Open(path)
			}
			f, err := (*Guard)(nil).CreateLive("-w", path)
			if (err != nil) != tt.refused || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("user %d", attacker)) {
				t.Errorf("error %v, want one: %v", err, tt.refused)
			}
			if err == nil {
				_, werr := f.Write([]byte("secret"))
				if err := errors.Join(werr, f.Close()); err != nil {
					t.Error(err)
				}
				onlyOurs(t, path, theirs)
			}
			if got := content(t, precious); got != "old" {
				t.Errorf("the file elsewhere has %q", got)
			}
			if _, err := os.Stat(precious + ".new"); err == nil {
				t.Error("a file was made where a link led")
			}
		})
	}
}

// onlyOurs checks that a file is root's alone, and that what was there before, if open, has nothing of it.
func onlyOurs(t *testing.T, path string, before *os.File) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode, owner := info.Mode(), ownerOf(info); mode != private || owner != 0 || content(t, path) != "secret" {
		t.Errorf("%s is %v of user %d", path, mode, owner)
	}
	if before == nil {
		return
	}
	defer before.Close()
	b := make([]byte, 100)
	if n, _ := before.ReadAt(b, 0); strings.Contains(string(b[:n]), "secret") {
		t.Errorf("who had the file open reads %q", b[:n])
	}
}

// TestAHardLinkToAPreciousFileIsReplaced, where the kernel lets others make one (fs.protected_hardlinks is 0).
func TestAHardLinkToAPreciousFileIsReplaced(t *testing.T) {
	dir := world(t)
	precious := old(t, dir, "precious")
	path := filepath.Join(dir, "out")
	if err := os.Link(precious, path); err != nil {
		t.Fatal(err)
	}
	f := create(t, nil, path)
	_, err := f.Write([]byte("secret"))
	if err := errors.Join(err, f.Close()); err != nil || content(t, precious) != "old" {
		t.Errorf("error %v, the file has %q", err, content(t, precious))
	}
}

// TestAPathThatIsExchangedMeanwhileLeadsNowhereElse has an attacker swap a directory for a link, and a file for a link, again and
// again while files are made.
func TestAPathThatIsExchangedMeanwhileLeadsNowhereElse(t *testing.T) {
	dir := world(t)
	vault := t.TempDir()
	precious := old(t, vault, "out")
	attack(t, dir, "mkdir dir other; ln -s "+vault+" link; ln -s "+precious+" filelink; : >file")
	done := make(chan struct{})
	c := exec.Command("sh", "-c", "while :; do mv -T dir spare; mv -T link dir; mv -T dir link; mv -T spare dir; ln -sfn "+precious+" dir/out; rm -f dir/out; done")
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: attacker, Gid: attacker}, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.Wait(); close(done) }()
	for range 2000 {
		if f, err := (*Guard)(nil).CreateLive("-w", filepath.Join(dir, "dir", "out")); err == nil {
			_, _ = f.Write([]byte("secret"))
			_ = f.Close() // its name may be gone
		}
	}
	_ = c.Process.Kill()
	<-done
	if got := content(t, precious); got != "old" {
		t.Errorf("the file elsewhere has %q", got)
	}
	alone(t, vault, "out")
}

// TestANewFileIsItsUsersAlone, whatever the umask allows.
func TestANewFileIsItsUsersAlone(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	path := filepath.Join(t.TempDir(), "out")
	f := create(t, nil, path)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
}

// TestFilesAreMadeHereOnly: all that ktrace writes is opened by this package.
func TestFilesAreMadeHereOnly(t *testing.T) {
	makes := regexp.MustCompile(`\b(os\.(Create|CreateTemp|WriteFile|OpenFile|MkdirTemp|Symlink|Link)|ioutil\.\w+)\(`)
	for _, root := range []string{"../../../cmd", "../../../decoder", "../../../tracer"} {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/outfile/") {
				return err
			}
			text, err := os.ReadFile(path)
			if found := makes.Find(text); found != nil {
				t.Errorf("%s has %s)", path, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
