// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/kube"
)

// CgroupPrograms reads which BPF programs the packets of a control group's sockets pass: its own and those of the groups
// above it. Version 1 has none.
func (o *Reader) CgroupPrograms(inode uint32, id uint64) []event.Fact {
	facts, err := o.cgroupPrograms(id)
	if err != nil {
		return unread(inode, "programs", err)
	}
	return facts
}

func (o *Reader) cgroupPrograms(id uint64) ([]event.Fact, error) {
	h, err := kube.FindHierarchy(o.finder.Node())
	if err != nil || h.ID != 0 {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(h.Root)
	if err != nil {
		return nil, err
	}
	dir, err := cgroupDir(root, id)
	if err != nil {
		return nil, fmt.Errorf("control group %d: %w", id, err)
	}
	var facts []event.Fact
	for ; strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		seen := strings.TrimPrefix(dir, strings.TrimSuffix(o.finder.Node().HostRoot(), "/"))
		more, err := programsOf(dir, event.Program{Cgroup: id, Dir: seen})
		if err != nil {
			return facts, fmt.Errorf("programs of %s: %w", dir, err)
		}
		facts = append(facts, more...)
	}
	return facts, nil
}

// cgroupDir finds the directory of a control group by its id, which is a file handle of cgroup2's.
func cgroupDir(root string, id uint64) (string, error) {
	const fileIDKernfs = 0xfe
	mount, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(mount)
	fd, err := unix.OpenByHandleAt(mount, unix.NewFileHandle(fileIDKernfs, binary.NativeEndian.AppendUint64(nil, id)), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return filepath.EvalSymlinks(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// programsOf lists what is attached to a control group itself.
func programsOf(dir string, like event.Program) ([]event.Fact, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var facts []event.Fact
	for at, kind := range map[string]ebpf.AttachType{event.AtCgroupIngress: ebpf.AttachCGroupInetIngress, event.AtCgroupEgress: ebpf.AttachCGroupInetEgress} {
		result, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: fd, Attach: kind})
		if err != nil {
			return facts, err
		}
		for _, p := range result.Programs {
			if name, ok := programName(p.ID); ok && !ours(name) {
				like.At, like.ID, like.Name = at, uint32(p.ID), name
				found := like
				facts = append(facts, event.Fact{Program: &found})
			}
		}
	}
	return facts, nil
}

// ours reports whether a program is of ktrace, which drops nothing.
func ours(name string) bool {
	switch name {
	case "tap_in", "tap_out", "dns_in", "dns_out", "tls_in", "tls_out":
		return true
	}
	return false
}
