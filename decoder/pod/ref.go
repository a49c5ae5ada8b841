// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"regexp"
	"strings"
)

// Ref is what the path of a cgroup says of whom it is for.
type Ref struct {
	UID       string // of the pod, as its log directory has it: with dashes, or 32 hex digits of a static pod
	Container string // id, "" for the pod's own cgroup
	Nested    bool   // made inside the container, or beside it for one of the runtime's helpers
}

// The forms in which the kubelet names a pod's cgroup, below "kubepods" or a class of it: cgroupfs "pod<uid>", systemd
// "kubepods-burstable-pod<uid>.slice", with a prefix if the kubelet's --cgroup-root is set, and with '_' for the '-' of the
// UID, as '-' separates slices.
var (
	podDirectory = regexp.MustCompile(`^pod(` + podUID + `)$`)
	podSlice     = regexp.MustCompile(`^((?:[A-Za-z0-9_.@:-]+-)?kubepods(?:-burstable|-besteffort)?)-pod(` + podUID + `)\.slice$`)
)

const podUID = `[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32}`

// The forms in which runtimes name a container's cgroup: the bare id, "cri-containerd-<id>.scope", "crio-<id>.scope",
// "docker-<id>.scope", "libpod-<id>.scope", "crio-<id>" and "kata_<id>".
var containerSegment = regexp.MustCompile(`^(?:(?:cri-containerd|crio|docker|libpod|containerd|kata)[-_:])?([0-9a-f]{12,64})(?:\.scope)?$`)

// A systemd-style path given to a runtime that drives cgroupfs itself: "slice:prefix:id" is one directory, below the
// runtime's own cgroup.
var unsplit = regexp.MustCompile(`^([^:]*kubepods[^:]*\.slice):([a-z-]+):([0-9a-f]{12,64})$`)

// ParseCgroup reads the path of a cgroup, of either driver and any runtime. ok is false if it belongs to no pod: anybody may
// name a cgroup of his own "pod<uid>", so it must also be where a kubelet makes it, and not below that of a user's session.
// Of pods within pods the outermost counts: it is the one that this node's kubelet made.
func ParseCgroup(path string) (ref Ref, ok bool) {
	p, ok := findPod(path)
	if !ok {
		return ref, false
	}
	ref.UID, ref.Container = strings.ReplaceAll(p.uid, "_", "-"), p.container
	for _, name := range p.below {
		m := containerSegment.FindStringSubmatch(name)
		if ref.Container != "" || ref.Nested || m == nil {
			ref.Nested = true // also "crio-conmon-<id>.scope" and its like
			break
		}
		ref.Container = m[1]
	}
	return ref, true
}

// ParseLogDir reads the name of a directory below /var/log/pods: <namespace>_<pod>_<uid>. Neither namespaces nor pods
// may have a '_' in their names.
func ParseLogDir(name string) (namespace, pod, uid string, ok bool) {
	parts := strings.Split(name, "_")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

var containerLog = regexp.MustCompile(`^([^_]+)_([^_]+)_([^_]+)-([0-9a-f]{64})\.log$`)

// ParseContainerLog reads the name of a link in /var/log/containers: <pod>_<namespace>_<container>-<id>.log.
func ParseContainerLog(name string) (container, id string, ok bool) {
	m := containerLog.FindStringSubmatch(name)
	if m == nil {
		return "", "", false
	}
	return m[3], m[4], true
}

// static says whether a UID is the hash of a manifest: the pod was started by the kubelet, without the API.
func static(uid string) bool { return len(uid) == 32 && !strings.Contains(uid, "-") }
