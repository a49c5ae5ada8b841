// SPDX-License-Identifier: Apache-2.0

package fsync

import (
	"strings"
	"testing"

	"ktrace/tracer/mount"
	"ktrace/tracer/probe"
)

func TestAFileSystemIsWatchedByItsDriverOrTheSyscalls(t *testing.T) {
	for fs, want := range map[string]syncHook{
		"ext4": hookExt4, "proc": hookNone, "xfs": hookSyscall, "btrfs": hookSyscall, "overlay": hookSyscall,
		"fuse.sshfs": hookSyscall, "tmpfs": hookSyscall, "squashfs": hookNone,
	} {
		if got := hookOf(mount.Mount{FS: fs}); got != want {
			t.Errorf("%s: hook %d, want %d", fs, got, want)
		}
	}
}

func TestOnlyTheHooksThatTheMountsNeedAreWanted(t *testing.T) {
	for _, c := range []struct {
		name     string
		devices  map[uint32]syncHook
		allSync  bool
		unwanted string
	}{
		{"ext4 alone needs no syscall", map[uint32]syncHook{1: hookExt4}, false, probe.HookFsync + "," + probe.HookMsync + "," + probe.HookRange},
		{"ext4 with all there is", map[uint32]syncHook{1: hookExt4}, true, probe.HookFsync + "," + probe.HookMsync},
		{"xfs alone", map[uint32]syncHook{1: hookSyscall}, false, probe.HookExt4},
		{"both", map[uint32]syncHook{1: hookSyscall, 2: hookExt4}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(unwantedHooks(syncRoots{devices: c.devices}, Options{AllSync: c.allSync, Stages: true}), ","); got != c.unwanted {
				t.Errorf("got %q, want %q", got, c.unwanted)
			}
		})
	}
}
