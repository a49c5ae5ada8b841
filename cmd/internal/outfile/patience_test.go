// SPDX-License-Identifier: Apache-2.0

//go:build unix

package outfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soon is when what need not wait must be over.
const soon = 5 * time.Second

// fill writes until that fails, which it does once done is closed.
func fill(t *testing.T, w interface{ Write([]byte) (int, error) }, done chan struct{}) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				ended <- err
				return
			}
		}
	}()
	close(done)
	select {
	case err := <-ended:
		return err
	case <-time.After(soon):
		t.Fatal("the write does not end")
		return nil
	}
}

func TestAReaderThatDoesNotReadHoldsNothingUp(t *testing.T) {
	r, file, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), file.Close() })
	file.Fd() // blocks, as standard output does
	done := make(chan struct{})
	w := Until(done, file)
	if n, err := w.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("a pipe with room takes %d bytes, %v", n, err)
	}
	if err := fill(t, w, done); !errors.Is(err, ErrNotRead) {
		t.Errorf("%v, want %v", err, ErrNotRead)
	}
	begin := time.Now()
	if _, err := w.Write([]byte("x")); !errors.Is(err, ErrNotRead) || time.Since(begin) > patience {
		t.Errorf("the next write: %v after %v", err, time.Since(begin))
	}
	if of, ok := FileOf(w); !ok || of != file {
		t.Error("the writer does not say on what it writes")
	}
}

// late is a writer that has no CPU for longer than a reader is waited for.
type late struct{ *os.File }

func (l late) Unwrap() io.Writer { return l.File }

func (l late) Write(b []byte) (int, error) {
	time.Sleep(patience + 5*again)
	return l.File.Write(b)
}

func TestAWriterThatIsLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	r, file, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), file.Close() })
	done := make(chan struct{})
	close(done)
	if n, err := Until(done, late{file}).Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("a pipe with room takes %d bytes, %v", n, err)
	}
}

func TestAPipeWithoutReaderIsNotWaitedForAtTheEnd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	create := func(done chan struct{}) (file *File, err error) {
		ended := make(chan struct{})
		go func() {
			file, err = (&Guard{Done: done}).Create("-w", name)
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(soon):
			t.Fatal("it waits for a reader")
		}
		return file, err
	}
	done := make(chan struct{})
	time.AfterFunc(10*time.Millisecond, func() { close(done) })
	if _, err := create(done); err == nil || !strings.Contains(err.Error(), "reader") {
		t.Errorf("without a reader: %v", err)
	}
	done = make(chan struct{})
	r, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	file, err := create(done)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(t, file, done); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with a reader that does not read: %v", err)
	}
	_ = file.Close() // not everything was written
}
