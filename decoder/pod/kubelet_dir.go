// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"regexp"
	"slices"
	"strings"
)

// KubeletDir is where a kubelet keeps its pods' cgroups.
type KubeletDir struct {
	Node string // cgroup of the node, if that is a container (kind, k3d, LXC); "" is the machine itself
	Root string // the kubelet's --cgroup-root below it, "" by default
	Pod  string // the pod's own cgroup
}

// KubeletDirOf reads which kubelet the path of a pod's cgroup, or of one below it, is of. ok is false where ParseCgroup's is.
func KubeletDirOf(path string) (d KubeletDir, ok bool) {
	p, ok := findPod(path)
	if !ok {
		return d, false
	}
	join := func(names []string) string { return strings.Join(append([]string{""}, names...), "/") }
	d.Pod = join(p.above)
	node := len(p.base)
	for node > 0 && !isNode(p.base[:node]) {
		node--
	}
	if node > 0 {
		d.Node = join(p.base[:node])
	}
	if root := append(slices.Clone(p.base[node:]), p.root...); len(root) > 0 {
		d.Root = join(root)
	}
	return d, true
}

// foundPod is a pod's cgroup in a path.
type foundPod struct {
	uid       string
	container string   // of a path that names both at once
	base      []string // of the directories above those that the kubelet's driver makes
	root      []string // the kubelet's --cgroup-root, as far as the names of slices have it
	above     []string // the pod's own directory and all above it
	below     []string
}

// findPod finds the first directory in a path that has the name of a pod, and above it those that belong to such a name.
func findPod(path string) (p foundPod, ok bool) {
	if !strings.Contains(path, "pod") { // most paths
		return p, false
	}
	names := strings.Split(path, "/")
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" || s == ".." }) // ".." leads to another cgroup namespace
	for i, name := range names {
		if session.MatchString(name) {
			return p, false
		}
		if !strings.Contains(name, "pod") {
			continue
		}
		if p, ok = podAt(names[:i], name); ok {
			p.above, p.below = names[:i+1], names[i+1:]
			return p, true
		}
	}
	return p, false
}

// session matches the names of cgroups that systemd hands to a user: what is below them the user has named.
var session = regexp.MustCompile(`^(?:user\.slice|user-[0-9]+\.slice|user@[0-9]+\.service|session-[^/]*\.scope)$`)

// podAt reports whether a directory below others is a pod's.
func podAt(above []string, name string) (p foundPod, ok bool) {
	if m := podDirectory.FindStringSubmatch(name); m != nil {
		n := len(above)
		if n > 0 && (above[n-1] == "burstable" || above[n-1] == "besteffort") {
			n--
		}
		if n == 0 || above[n-1] != "kubepods" {
			return p, false
		}
		return foundPod{uid: m[1], base: above[:n-1]}, true
	}
	whole := unsplit.FindStringSubmatch(name)
	if whole != nil {
		name = whole[1]
	}
	m := podSlice.FindStringSubmatch(name)
	if m == nil {
		return p, false
	}
	parts := strings.Split(m[1], "-") // "kubelet-kubepods-burstable"
	p = foundPod{uid: m[2], root: parts[:slices.Index(parts, "kubepods")]}
	if whole != nil {
		p.container = whole[3]
		return p, true
	}
	// systemd has "kubelet-kubepods.slice" in "kubelet.slice".
	if len(above) < len(parts) {
		return p, false
	}
	p.base = above[:len(above)-len(parts)]
	for i, dir := range above[len(p.base):] {
		if dir != strings.Join(parts[:i+1], "-")+".slice" {
			return p, false
		}
	}
	return p, true
}

// The forms of the cgroup of a container that a node may be: docker's and podman's by id, LXC's and systemd-nspawn's by
// name, and what is made within for its processes.
var nodeContainer = regexp.MustCompile(`^(?:(?:(?:docker|libpod)-)?[0-9a-f]{12,64}(?:\.scope)?|lxc\.payload\.[^/]+|machine-[^/]+\.scope|systemd-nspawn@[^/]+\.service)$`)

// isNode reports whether directories end with the cgroup of a container.
func isNode(names []string) bool {
	last, before := names[len(names)-1], ""
	if len(names) > 1 {
		before = names[len(names)-2]
	}
	return nodeContainer.MatchString(last) || before == "lxc" || (last == "container" || last == "payload") && nodeContainer.MatchString(before)
}
