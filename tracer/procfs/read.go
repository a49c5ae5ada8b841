// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	// ErrTooLarge is returned beside the beginning of a file that has more than may be read.
	ErrTooLarge = errors.New("larger than is read")
	// ErrPrivate is returned for a file that the process for which it is read may not read itself.
	ErrPrivate = errors.New("the process may not read it itself")
	// ErrNotRegular is returned for what is no regular file: to open a device or a pipe may do something, or wait.
	ErrNotRegular = errors.New("no regular file")
)

const (
	smallFile   = 64 << 10  // bytes of a file with a few lines
	firstLines  = 4 << 10   // bytes of a file whose first lines are wanted
	environFile = 256 << 10 // bytes of an environment
	mountFile   = 16 << 20  // bytes of mountinfo
)

// readAll reads a file of proc itself, most bytes of it. Where there are more, the error is ErrTooLarge.
func readAll(name string, most int) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if err := regular(fd); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	text, err := readFD(fd, most)
	if err != nil {
		return text, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

func regular(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ErrNotRegular
	}
	return nil
}

// readFD reads to the end, or one byte more than most.
func readFD(fd, most int) ([]byte, error) {
	buf := make([]byte, min(most+1, 1024))
	n := 0
	for {
		got, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return buf[:n], err
		case got == 0:
			return buf[:n], nil
		}
		if n += got; n > most {
			return buf[:most], ErrTooLarge
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, min(most+1, 2*n)-n)...)
		}
	}
}

// number reads a number; what is none, or less than none, is 0.
func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
