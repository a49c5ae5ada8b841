// SPDX-License-Identifier: Apache-2.0

package fsync

import "ktrace/tracer/mount"

// syncHook is by which hook the syncs of a file system are seen, as enum hook of fsync.bpf.c numbers them.
type syncHook uint32

const (
	hookNone    syncHook = iota // nothing to see: no file of it can be dirty
	hookExt4                    // the ext4 driver's own tracepoints
	hookSyscall                 // the tracepoints of the syscalls
)

// hookOf returns how the syncs of a mount that is no overlay are seen.
func hookOf(m mount.Mount) syncHook {
	switch m.FS {
	case "ext4", "ext3", "ext2": // one driver, unless the kernel was built with the old ext2
		return hookExt4
	case "proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "bpf", "tracefs", "debugfs", "securityfs", "pstore",
		"nsfs", "fusectl", "configfs", "binfmt_misc", "autofs", "rpc_pipefs", "efivarfs", "selinuxfs",
		"squashfs", "iso9660", "erofs", "cramfs", "udf":
		return hookNone
	}
	return hookSyscall
}
