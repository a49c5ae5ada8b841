// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// HoldsProgram reports whether a process of the node has a BPF program open, by its id. It needs CAP_SYS_PTRACE and
// CAP_DAC_READ_SEARCH; a process that a security module protects is passed over, unless it has this one's name: then, and where not
// all processes are to be seen, it is an error. It reads a link for each file of each process.
func (s *FS) HoldsProgram(id uint32) (bool, error) {
	if !s.ofMachine() {
		return false, ErrNoProc
	}
	own := s.Self().Comm()
	for p := range s.Processes() {
		held, err := p.holdsProgram(id)
		if errors.Is(err, fs.ErrPermission) && p.Comm() != own {
			continue
		}
		if held || err != nil {
			return held, err
		}
	}
	return false, nil
}

func (p Process) holdsProgram(id uint32) (bool, error) {
	dir, err := os.Open(p.path("fd"))
	if err != nil {
		return false, unlessEnded(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if unlessEnded(err) != nil {
		return false, err
	}
	for _, name := range names {
		f := File{p, name}
		switch link, err := os.Readlink(p.path("fd/" + name)); {
		case unlessEnded(err) != nil:
			return false, err
		case link == "anon_inode:bpf-prog" && f.program() == id:
			return true, nil
		}
	}
	return false, nil
}

// unlessEnded is an error but for that of a process, or a file of its, that is no more.
func unlessEnded(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fmt.Errorf("open files of processes: %w", err)
}

// program is the id of the BPF program that the descriptor is of; 0 if it is of none.
func (f File) program() uint32 {
	const most = 4 << 10
	text, _ := readAll(f.process.path("fdinfo/"+f.number), most) // whose lines so far are right
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
			return uint32(number(strings.TrimSpace(value)))
		}
	}
	return 0
}
