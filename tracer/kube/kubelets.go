// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/pod"
	"ktrace/tracer/procfs"
)

// kubelets knows which cgroups kubelets keep their pods in. Any user with a cgroup of his own may make one below it that is
// named like a pod's.
type kubelets struct {
	node   *procfs.FS
	roots  map[string]bool // that the kubelets here are configured with (--cgroup-root)
	looked time.Time
}

// rootsEvery is how often the configuration of kubelets is read, while there are cgroups that no known one can have made.
const rootsEvery = 5 * time.Second

// nestedRoots are those of distributions that run nodes in containers: kind, k3d.
var nestedRoots = [...]string{"/kubelet", "/k3s"}

// has reports whether a path that names a pod is below a kubelet's root.
func (k *kubelets) has(path string) bool {
	d, ok := pod.KubeletDirOf(path)
	switch {
	case !ok:
		return false
	case d.Root == "":
		return true
	case d.Node != "" && (d.Root == nestedRoots[0] || d.Root == nestedRoots[1]):
		return true
	}
	if time.Since(k.looked) >= rootsEvery {
		k.looked = time.Now()
		k.look()
	}
	return k.roots[d.Root]
}

// kubeletPrograms are the names of processes that are a kubelet, or have one in them.
var kubeletPrograms = [...]string{"kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent"}

// look reads the configuration of the kubelets: from the node's files, and from the command lines of root's processes.
func (k *kubelets) look() {
	k.roots = map[string]bool{}
	k.learn(ReadKubeletConfig(k.node).CgroupRoot)
	for p := range k.node.Processes() {
		if !isKubelet(p) {
			continue
		}
		line, err := p.Cmdline()
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(line, "\x00")
		k.learn(option(args, "cgroup-root"))
		if file := option(args, "config"); file != "" {
			k.learn(readKubeletConfig(k.node.Tree(k.node.HostRoot()), file).CgroupRoot)
		}
	}
}

// isKubelet reports whether a process is one. Any process may have the name; root's in a pod is none of the node's.
func isKubelet(p procfs.Process) bool {
	return slices.Contains(kubeletPrograms[:], p.Comm()) && p.OfRoot() && !inPod(p)
}

// inPod reports whether a process is in the control group of a pod, which one that ended is.
func inPod(p procfs.Process) bool {
	groups, err := p.Cgroups()
	return err != nil || slices.ContainsFunc(groups, func(g procfs.Cgroup) bool {
		_, ok := pod.KubeletDirOf(g.Path)
		return ok
	})
}

// learn takes in a root, with and without the slash before it, "" is none.
func (k *kubelets) learn(root string) {
	if root == "" {
		return
	}
	root = filepath.Join("/", root)
	k.roots[root] = true
	k.roots[strings.ReplaceAll(root, "-", "_")] = true // as slices have it
}

// ofRoot reports whether only root can have made a directory of a pod: it, and those above it, are root's. Those of a pod
// that ended may be gone.
func ofRoot(root, path string) bool {
	d, _ := pod.KubeletDirOf(path)
	dir := root
	for name := range strings.SplitSeq(strings.TrimPrefix(d.Pod, "/"), "/") {
		dir = filepath.Join(dir, name)
		var st unix.Stat_t
		switch err := unix.Stat(dir, &st); {
		case os.IsNotExist(err):
			return strings.Contains(dir[len(root):], "kubepods") && !strings.HasSuffix(dir, "/kubepods") && !strings.HasSuffix(dir, "kubepods.slice")
		case err != nil || !writableByRoot(&st):
			return false
		}
	}
	return true
}

// writableByRoot reports whether only root can make files in a directory.
func writableByRoot(st *unix.Stat_t) bool {
	const group, others = 0o020, 0o002
	return st.Uid == 0 && st.Mode&others == 0 && (st.Mode&group == 0 || st.Gid == 0)
}
