// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/tracer/procfs"
)

// logDir is where the kubelet keeps a directory a pod.
const logDir = "var/log/pods"

// kubeletDir is where the kubelet keeps the volumes of each pod.
const kubeletDir = "var/lib/kubelet/pods"

// logs are the names that the kubelet gives to the logs of pods and containers.
type logs struct {
	pods, containers directory
	volumes          string
}

func newLogs(hostRoot string) *logs {
	return &logs{
		pods: directory{path: filepath.Join(hostRoot, logDir), parse: func(name string) (uid, dir string, ok bool) {
			_, _, uid, ok = pod.ParseLogDir(name)
			return uid, name, ok
		}},
		containers: directory{path: filepath.Join(hostRoot, "var/log/containers"), parse: func(name string) (id, container string, ok bool) {
			container, id, ok = pod.ParseContainerLog(name)
			return id, container, ok
		}},
		volumes: filepath.Join(hostRoot, kubeletDir),
	}
}

// pod looks a pod up in the kubelet's log directories, which are there before the pod's first process.
func (l *logs) pod(uid string) (event.PodFact, bool) {
	dir, ok := l.pods.find(uid)
	if !ok || !l.pods.ofRootAt(dir) {
		return event.PodFact{}, false // no kubelet, or not yet
	}
	namespace, name, _, _ := pod.ParseLogDir(dir)
	return event.PodFact{UID: uid, Namespace: namespace, Name: name, Source: "log"}, true
}

// denies reports whether a directory that the kubelet would have made for the pod is another's.
func (l *logs) denies(uid string) bool {
	if dir, ok := l.pods.find(uid); ok && !l.pods.ofRootAt(dir) {
		return true
	}
	var st unix.Stat_t
	return unix.Lstat(filepath.Join(l.volumes, uid), &st) == nil && st.Uid != 0
}

// container looks a container up among the links that the kubelet makes once it has started one.
func (l *logs) container(id string) (name string, ok bool) { return l.containers.find(id) }

// bundles are where runtimes keep the OCI configuration of a container that runs: written before its cgroup is made,
// removed after it. The container's id goes in the place of the *.
var bundles = [...]string{
	"run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json",
	"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json", // also rke2
	"run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json",
	"var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json",
	"run/containers/storage/overlay-containers/*/userdata/config.json", // CRI-O
}

// annotations are the keys of containerd and CRI-O in a container's OCI configuration.
var annotations = struct{ podName, namespace, uid, container, kind [2]string }{
	podName:   [2]string{"io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"},
	namespace: [2]string{"io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"},
	uid:       [2]string{"io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"}, // containerd from 1.6.11 on
	container: [2]string{"io.kubernetes.cri.container-name", "io.kubernetes.container.name"},
	kind:      [2]string{"io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"},
}

// maxBundle bounds an OCI configuration, bytes: one has the container's environment and arguments, of which etcd takes 1.5 MiB, and
// the program's defaults.
const maxBundle = 4 << 20

// bundle reads the pod and the name of a container from its OCI configuration. What is larger than one is none.
func bundle(node *procfs.FS, uid, id string) (event.PodFact, bool) {
	hostRoot := node.HostRoot()
	for _, form := range bundles {
		dir, rest, _ := strings.Cut(form, "*")
		if _, err := os.Stat(filepath.Join(hostRoot, dir)); err != nil {
			continue // another runtime's
		}
		raw, err := node.Tree(hostRoot).ReadFile(filepath.Join(dir, id+rest), maxBundle)
		if err != nil {
			continue
		}
		return parseBundle(raw, uid, id)
	}
	return event.PodFact{}, false
}

func parseBundle(raw []byte, uid, id string) (event.PodFact, bool) {
	var config struct{ Annotations map[string]string }
	if json.Unmarshal(raw, &config) != nil {
		return event.PodFact{}, false // being written
	}
	get := func(keys [2]string) string {
		for _, k := range keys {
			if v := config.Annotations[k]; v != "" {
				return v
			}
		}
		return ""
	}
	if of := get(annotations.uid); of != "" && of != uid {
		return event.PodFact{}, false // it names another pod: better no name than a wrong one
	}
	c := event.ContainerFact{ID: id, Name: get(annotations.container), Sandbox: get(annotations.kind) == "sandbox"}
	if c.Sandbox {
		c.Name = ""
	}
	f := event.PodFact{UID: uid, Namespace: get(annotations.namespace), Name: get(annotations.podName), Source: "bundle", Containers: []event.ContainerFact{c}}
	return f, c.Name != "" || c.Sandbox
}
