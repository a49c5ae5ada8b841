package tracer

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// mount is a line of /proc/PID/mountinfo (proc(5)).
type mount struct {
	ID     int
	Dev    uint32 // of the file system, as the kernel has it: major << 20 | minor
	Root   string // directory of the file system that is mounted
	Point  string // where, as the process sees it
	FS     string // type, "ext4", "fuse.sshfs"
	Source string
	Super  map[string]string // options of the file system
}

// parseMounts reads a mountinfo file. Lines that it does not understand are an error: a mount that is missed is a
// sync that is missed.
func parseMounts(r io.Reader) ([]mount, error) {
	var mounts []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // the options of an overlay with many layers are long
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
}

func parseMount(line string) (mount, error) {
	fields, rest, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(fields), strings.Split(rest, " ")
	if !ok || len(left) < 6 || len(right) < 3 {
		return mount{}, fmt.Errorf("mountinfo: %q is no mount", line)
	}
	id, err := strconv.Atoi(left[0])
	if err != nil {
		return mount{}, fmt.Errorf("mountinfo: %q: %w", line, err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(left[2], "%d:%d", &major, &minor); err != nil {
		return mount{}, fmt.Errorf("mountinfo: %q: device: %w", line, err)
	}
	m := mount{
		ID: id, Dev: major<<20 | minor, Root: unescape(left[3]), Point: unescape(left[4]),
		FS: right[0], Source: unescape(right[1]), Super: map[string]string{},
	}
	for _, option := range strings.Split(right[2], ",") {
		key, value, _ := strings.Cut(option, "=")
		m.Super[key] = unescape(value)
	}
	return m, nil
}

// unescape turns \040 and its like back into the characters that would have ended the field.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// syncHook is by which hook the syncs of a file system are seen, as enum hook of fsync.bpf.c numbers them.
type syncHook uint32

const (
	hookNone    syncHook = iota // nothing to see: no file of it can be dirty
	hookExt4                    // the ext4 driver's own tracepoints
	hookSyscall                 // the tracepoints of the syscalls
)

// memory reports whether a file system keeps its files in memory, where a sync has nothing to wait for.
func (m mount) memory() bool {
	return m.FS == "tmpfs" || m.FS == "ramfs" || m.FS == "devtmpfs" || m.FS == "hugetlbfs"
}

// hook says how the syncs of a mount that is no overlay are seen.
func (m mount) hook() syncHook {
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
