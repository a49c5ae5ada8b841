// SPDX-License-Identifier: Apache-2.0

package fsync

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"ktrace/decoder/event"
	"ktrace/tracer/mount"
	"ktrace/tracer/procfs"
)

// place is a directory or file by device and inode, which are the same in every mount namespace.
type place struct {
	dev uint32
	ino uint64
}

// syncRoots is where syncs are looked for.
type syncRoots struct {
	names   []string // directories by index, as the user would name them
	index   map[place]uint32
	devices map[uint32]syncHook
	mounts  []event.FsyncMount
}

// view is a file system tree as one process sees it.
type view struct {
	tree   procfs.Tree
	mounts []mount.Mount
}

// openView is the view of a process; pid 0 is this one, or the node's first if the node's file system is
// somewhere else: mounts are numbered per namespace, and the node's are not those of the container that we run in.
func openView(node *procfs.FS, pid int) (view, error) {
	if err := node.Check(); err != nil {
		return view{}, err
	}
	p := node.Process(max(uint32(pid), 1))
	tree := p.Root()
	if pid == 0 && node.HostRoot() == "/" {
		p, tree = node.Self(), node.Tree("/")
	}
	mounts, err := mount.Of(p)
	return view{tree: tree, mounts: mounts}, err
}

// found is a path within a view: what it is, its name without symbolic links, and the mount that it lies on.
type found struct {
	place
	name  string
	mount mount.Mount
}

// find resolves a path as the process would.
func (v view) find(name string) (found, error) {
	file, err := v.tree.Resolve(name)
	if err != nil {
		return found{}, err
	}
	defer file.Close()
	own := procfs.Own(file)
	_, ino, ok := own.Inode()
	if !ok {
		return found{}, fmt.Errorf("%s: it has no inode number", name)
	}
	m, err := v.mountOf(own)
	if err != nil {
		return found{}, err
	}
	// The link names the file as we would reach it or, in another namespace, as that one does.
	return found{place: place{dev: m.Dev, ino: ino}, name: own.Link(), mount: m}, nil
}

// mountOf asks the kernel which mount a descriptor is on: device numbers of btrfs and overlays are not those that the
// kernel's inodes have, so they come from the mount.
func (v view) mountOf(file procfs.File) (mount.Mount, error) {
	id := file.Info().Mount
	if i := slices.IndexFunc(v.mounts, func(m mount.Mount) bool { return m.ID == id }); i >= 0 {
		return v.mounts[i], nil
	}
	return mount.Mount{}, errors.New("it lies on no mount of this namespace")
}

// findSyncRoots resolves the paths, as the process sees them, to the directories that the kernel half looks for: each
// path, and what is mounted below it. Without paths it is every file system with a disk below it.
func findSyncRoots(proc *procfs.FS, pid int, paths []string) (syncRoots, error) {
	r := syncRoots{index: map[place]uint32{}, devices: map[uint32]syncHook{}}
	seen, err := openView(proc, pid)
	if err != nil {
		return r, err
	}
	node := seen
	if pid != 0 {
		if node, err = openView(proc, 0); err != nil {
			return r, err
		}
	}
	for _, m := range seen.mounts {
		if hookOf(m) != hookNone && !m.InMemory() {
			r.mounts = append(r.mounts, event.FsyncMount{Dev: m.Dev, Root: m.Root, Point: m.Point})
		}
	}
	if len(paths) == 0 {
		r.everywhere(seen, node)
		return r, nil
	}
	for _, p := range paths {
		at, err := seen.find(p)
		if err != nil {
			return r, fmt.Errorf("--path %s: %w: name a directory that exists%s", p, err, where(pid))
		}
		r.add(at, p, node)
		for _, m := range seen.mounts {
			if m.Point == at.name || !event.Below(m.Point, at.name) || m.InMemory() || hookOf(m) == hookNone {
				continue
			}
			below, err := seen.find(m.Point)
			if err != nil || below.mount.ID != m.ID {
				continue // another mount hides it
			}
			r.add(below, path.Join(p, strings.TrimPrefix(m.Point, at.name)), node)
		}
	}
	return r, nil
}

func where(pid int) string {
	if pid == 0 {
		return " on this node; --pid for one in a container"
	}
	return fmt.Sprintf(" in the container of process %d", pid)
}

// everywhere watches all mounts but those in memory.
func (r *syncRoots) everywhere(seen, node view) {
	for _, m := range seen.mounts {
		if m.InMemory() || m.FS == "overlay" && r.upper(m, "/", node) != nil {
			continue
		}
		if h := hookOf(m); h != hookNone {
			r.devices[m.Dev] = h
		}
	}
}

// add takes in a directory under the name that the user knows it by. An overlay's files are seen at the file system
// that holds its upper layer, if that has a hook of its own.
func (r *syncRoots) add(at found, name string, node view) {
	hook := hookOf(at.mount)
	if at.mount.FS == "overlay" {
		inside := path.Join(at.mount.Root, strings.TrimPrefix(at.name, at.mount.Point))
		if up := r.upper(at.mount, inside, node); up != nil {
			hook = hookExt4
			r.put(up.place, name, hook)
		}
	}
	// Before 6.8 the file that an overlay opens on its upper layer goes by the overlay's own names (commit
	// def3ae83da02, "fs: store real path instead of fake path in backing file f_path"), so both are needed.
	r.put(at.place, name, hook)
}

func (r *syncRoots) put(p place, name string, hook syncHook) {
	if hook == hookNone {
		return
	}
	r.devices[p.dev] = hook
	if _, ok := r.index[p]; ok {
		return
	}
	i := slices.Index(r.names, name)
	if i < 0 {
		i = len(r.names)
		r.names = append(r.names, name)
	}
	r.index[p] = uint32(i)
}

// upper finds the part of an overlay that lies on ext4: nil if its upper layer is elsewhere, or unknown, or has no
// such directory yet.
func (r *syncRoots) upper(m mount.Mount, inside string, node view) *found {
	dir, ok := m.Super["upperdir"]
	if !ok {
		return nil
	}
	up, err := node.find(path.Join(dir, inside))
	if err != nil || hookOf(up.mount) != hookExt4 {
		return nil
	}
	return &up
}
