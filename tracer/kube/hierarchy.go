// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ktrace/decoder/pod"
	"ktrace/tracer/procfs"
)

// ErrNoCgroups is returned where no control groups are mounted.
var ErrNoCgroups = errors.New("no cgroups below /sys/fs/cgroup: mount them, or give the node's root with --host-root, which within ip netns exec is /proc/1/root")

// Hierarchy is the cgroup hierarchy by which pods are identified. A node may have many; cgroup ids are unique only within
// one, so one is chosen.
type Hierarchy struct {
	Root      string // where it is mounted
	ID        int    // 0 is cgroup2
	Subsystem int    // of version 1: the number of its controller in this kernel; -1 for cgroup2
	kubelets  *kubelets
	below     *children
}

// children are the names of the directories below one, of the last walk and of this.
type children struct {
	last, now map[string][]string
}

// controllers of version 1 that runtimes put every container into, the most common first.
var controllers = [...]string{"pids", "memory", "cpu", "cpuacct", "cpuset", "devices", "freezer"}

// FindHierarchy picks cgroup2 if pods are there, else a version 1 hierarchy that has pods, else, on a node that has no
// pods yet, cgroup2 if it is mounted at all.
func FindHierarchy(node *procfs.FS) (Hierarchy, error) {
	base := filepath.Join(node.HostRoot(), "sys/fs/cgroup")
	known := &kubelets{node: node}
	var all []Hierarchy
	for _, dir := range []string{"", "unified"} {
		if root := filepath.Join(base, dir); isFS(root, unix.CGROUP2_SUPER_MAGIC) {
			all = append(all, Hierarchy{Root: root, ID: 0, Subsystem: -1, kubelets: known, below: &children{}})
		}
	}
	for _, name := range controllers {
		if root := filepath.Join(base, name); isFS(root, unix.CGROUP_SUPER_MAGIC) {
			all = append(all, Hierarchy{Root: root, kubelets: known, below: &children{}})
		}
	}
	if len(all) == 0 {
		return Hierarchy{}, ErrNoCgroups
	}
	chosen := all[max(0, slices.IndexFunc(all, Hierarchy.hasPods))]
	if chosen.Subsystem < 0 {
		return chosen, nil
	}
	return chosen.version1(node, filepath.Base(chosen.Root)) // asks for the kernel's types: only if it must
}

func isFS(path string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == magic
}

// version1 finds the numbers by which the kernel knows a version 1 hierarchy.
func (h Hierarchy) version1(node *procfs.FS, controller string) (Hierarchy, error) {
	var err error
	if h.Subsystem, err = subsystem(controller); err != nil {
		return h, err
	}
	h.ID, err = node.CgroupHierarchy(controller)
	return h, err
}

// subsystem is the controller's value of enum cgroup_subsys_id, which depends on the kernel's configuration.
func subsystem(controller string) (int, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, fmt.Errorf("this kernel's BTF: %w", err)
	}
	var enum *btf.Enum
	if err := spec.TypeByName("cgroup_subsys_id", &enum); err != nil {
		return 0, fmt.Errorf("enum cgroup_subsys_id: %w", err)
	}
	for _, v := range enum.Values {
		if v.Name == controller+"_cgrp_id" {
			return int(v.Value), nil
		}
	}
	return 0, fmt.Errorf("this kernel has no controller %q", controller)
}

func (h Hierarchy) hasPods() bool {
	found := false
	h.walk(func(uint64, string, pod.Ref) bool {
		found = true
		return false
	})
	return found
}

// refOf reads the path of a cgroup. ok is false if it is not of a pod that a kubelet made.
func (h Hierarchy) refOf(path string) (ref pod.Ref, ok bool) {
	ref, ok = pod.ParseCgroup(path)
	return ref, ok && h.kubelets.has(path) && ofRoot(h.Root, path)
}

// walk calls visit with id and path of every cgroup of a pod, until it returns false. Cgroups that are removed meanwhile are skipped.
func (h Hierarchy) walk(visit func(id uint64, path string, ref pod.Ref) bool) {
	h.below.last, h.below.now = h.below.now, map[string][]string{}
	h.walkBelow("", false, visit)
}

// walkBelow walks one cgroup with those below it. A directory that others than root can write to has no pods, unless it is
// in one.
func (h Hierarchy) walkBelow(path string, inPod bool, visit func(id uint64, path string, ref pod.Ref) bool) bool {
	const leaf = 2 // links of a directory without another in it
	var st unix.Stat_t
	if unix.Stat(h.Root+path, &st) != nil || !inPod && !writableByRoot(&st) {
		return true
	}
	if ref, ok := pod.ParseCgroup(path); ok {
		if inPod = inPod || h.kubelets.has(path); !inPod {
			return true
		}
		if !visit(st.Ino, path, ref) {
			return false
		}
	}
	if st.Nlink <= leaf {
		return true
	}
	for _, name := range h.children(path, int(st.Nlink)-leaf) {
		if !h.walkBelow(path+"/"+name, inPod, visit) {
			return false
		}
	}
	return true
}

// children are the cgroups below one, that many. To list a cgroup has the kernel go through all its files: while there are as many
// as in the last walk, and those are still there, they are the same.
func (h Hierarchy) children(path string, many int) []string {
	names := h.below.last[path]
	same := len(names) == many
	for _, name := range names {
		var st unix.Stat_t
		same = same && unix.Stat(h.Root+path+"/"+name, &st) == nil
	}
	if !same {
		names = subdirectories(h.Root + path)
	}
	h.below.now[path] = names
	return names
}

func subdirectories(path string) (names []string) {
	dir, err := os.Open(path)
	if err != nil {
		return nil // it is gone
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(-1) // those that it has read
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// processes returns those in a cgroup.
func (h Hierarchy) processes(path string) []uint32 {
	raw, err := os.ReadFile(filepath.Join(h.Root, path, "cgroup.procs"))
	if err != nil {
		return nil // it is gone
	}
	var pids []uint32
	for _, f := range strings.Fields(string(raw)) {
		if pid, err := strconv.ParseUint(f, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	return pids
}

// pathOf returns the cgroup of a process, within the hierarchy.
func (h Hierarchy) pathOf(p procfs.Process) (string, bool) {
	groups, err := p.Cgroups()
	if err != nil {
		return "", false
	}
	i := slices.IndexFunc(groups, func(g procfs.Cgroup) bool { return g.Hierarchy == h.ID })
	if i < 0 {
		return "", false
	}
	return groups[i].Path, true
}

// PlaceOf returns where a process is, as a selection: its cgroup and, unless that is the node's, its network namespace.
func PlaceOf(node *procfs.FS, pid int) (pod.Place, error) {
	var p pod.Place
	h, err := FindHierarchy(node)
	if err != nil {
		return p, err
	}
	process := node.Process(uint32(pid))
	inode, err := process.Namespace("net")
	if err != nil {
		return p, err
	}
	home, err := node.Self().Namespace("net")
	if err != nil {
		return p, err
	}
	if inode != home {
		p.Netns = inode
	}
	p.Cgroup, err = h.CgroupOf(process)
	if err == nil && p.Cgroup == 0 && p.Netns == 0 {
		err = fmt.Errorf("process %d has neither a cgroup nor a network namespace of its own to select by", pid)
	}
	return p, err
}

// CgroupOf returns the id of a process's cgroup, 0 if that is the root.
func (h Hierarchy) CgroupOf(p procfs.Process) (uint64, error) {
	path, ok := h.pathOf(p)
	switch {
	case !ok:
		return 0, fmt.Errorf("cgroup of process %d: %w", p.PID, os.ErrNotExist)
	case path == "/":
		return 0, nil
	}
	return h.idOf(path)
}

// idOf returns the id of a cgroup.
func (h Hierarchy) idOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(h.Root, path), &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return st.Ino, nil
}
