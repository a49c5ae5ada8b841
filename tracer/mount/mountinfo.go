// SPDX-License-Identifier: Apache-2.0

// Package mount reads which file systems a process sees, and where.
package mount

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ktrace/tracer/procfs"
)

// Mount is a line of /proc/PID/mountinfo (proc(5)).
type Mount struct {
	ID     int
	Dev    uint32 // of the file system, as the kernel has it: major << 20 | minor
	Root   string // directory of the file system that is mounted
	Point  string // where, as the process sees it
	FS     string // type, "ext4", "fuse.sshfs"
	Source string
	Super  map[string]string // options of the file system
}

// Of returns what a process sees.
func Of(p procfs.Process) ([]Mount, error) {
	text, err := p.MountInfo()
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	return Parse(bytes.NewReader(text))
}

// Parse reads a mountinfo file. Lines that it does not understand are an error: a mount that is missed is a
// sync that is missed.
func Parse(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // the options of an overlay with many layers are long
	for lines.Scan() {
		m, err := parseLine(lines.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
}

func parseLine(line string) (Mount, error) {
	fields, rest, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(fields), strings.Split(rest, " ")
	if !ok || len(left) < 6 || len(right) < 3 {
		return Mount{}, fmt.Errorf("mountinfo: %q is no mount", line)
	}
	id, err := strconv.Atoi(left[0])
	if err != nil {
		return Mount{}, fmt.Errorf("mountinfo: %q: %w", line, err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(left[2], "%d:%d", &major, &minor); err != nil {
		return Mount{}, fmt.Errorf("mountinfo: %q: device: %w", line, err)
	}
	m := Mount{
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

// InMemory reports whether a file system keeps its files in memory, where a sync has nothing to wait for.
func (m Mount) InMemory() bool {
	return m.FS == "tmpfs" || m.FS == "ramfs" || m.FS == "devtmpfs" || m.FS == "hugetlbfs"
}
