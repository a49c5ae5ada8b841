// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
)

// logDir is where the kubelet keeps a directory a pod.
const logDir = "var/log/pods"

// logNames looks a pod up in the kubelet's log directories, which are there before the pod's first process.
func logNames(hostRoot, uid string) (event.PodFact, bool) {
	entries, err := os.ReadDir(filepath.Join(hostRoot, logDir))
	if err != nil {
		return event.PodFact{}, false // no kubelet, or not yet
	}
	for _, e := range entries {
		if namespace, name, of, ok := pod.ParseLogDir(e.Name()); ok && of == uid {
			return event.PodFact{UID: uid, Namespace: namespace, Name: name, Source: "log"}, true
		}
	}
	return event.PodFact{}, false
}

// logContainer looks a container up among the links that the kubelet makes once it has started one.
func logContainer(hostRoot, id string) (name string, ok bool) {
	links, err := os.ReadDir(filepath.Join(hostRoot, "var/log/containers"))
	if err != nil {
		return "", false
	}
	for _, l := range links {
		if name, of, ok := pod.ParseContainerLog(l.Name()); ok && of == id {
			return name, true
		}
	}
	return "", false
}

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

// bundle reads the pod and the name of a container from its OCI configuration.
func bundle(hostRoot, uid, id string) (event.PodFact, bool) {
	for _, form := range bundles {
		path := filepath.Join(hostRoot, strings.Replace(form, "*", id, 1))
		raw, err := os.ReadFile(path)
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
