// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"ktrace/tracer/mount"
)

// ErrNoCgroup2 is returned where no cgroup2 is mounted, as programs at sockets need it.
var ErrNoCgroup2 = errors.New("no cgroup2 is mounted: mount it, or the node's own in a container")

// attachCgroup attaches to all sockets below the highest cgroup2 that can be reached. Programs that are attached there keep
// running; if one was attached without BPF_F_ALLOW_MULTI the error is EPERM. Links to cgroups exist since 5.7.
func attachCgroup(spec *ebpf.ProgramSpec, p *ebpf.Program) (link.Link, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	root, err := cgroup2(f)
	if err != nil {
		return nil, err
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: spec.AttachType, Program: p})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	return l, nil
}

// cgroup2 returns where the highest cgroup2 is mounted: a container may have the node's mounted beside its own.
func cgroup2(mountinfo io.Reader) (string, error) {
	mounts, err := mount.Parse(mountinfo)
	if err != nil {
		return "", err
	}
	mounts = slices.DeleteFunc(mounts, func(m mount.Mount) bool { return m.FS != "cgroup2" })
	if len(mounts) == 0 {
		return "", ErrNoCgroup2
	}
	return slices.MaxFunc(mounts, func(a, b mount.Mount) int { return cmp.Compare(height(a.Root), height(b.Root)) }).Point, nil
}

// height is how many levels a mount's root is above the root of the cgroup namespace; negative below it.
func height(root string) int {
	n := 0
	for part := range strings.SplitSeq(strings.Trim(root, "/"), "/") {
		switch part {
		case "":
		case "..":
			n++
		default:
			n--
		}
	}
	return n
}
