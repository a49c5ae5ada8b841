// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// forget lets go of what only loading needs: the kernel's types and the objects' instructions, which are some megabytes, with
// some twenty of garbage; and of the program's own pages, most of which only ran or were read for that.
func (t *Tracer) forget() error {
	t.types = types{}
	for _, o := range t.objects {
		o.types, o.spec = types{}, nil
	}
	debug.FreeOSMemory()
	return dropProgram()
}

// dropProgram has the pages of the program's file that cannot be written be mapped anew when they are needed. They stay in the
// page cache.
func dropProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var access string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil || strings.Contains(access, "w") || !strings.HasSuffix(line, " "+program+"\n") {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}
