// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What each runtime writes beside a container, where each distribution has it.
func TestConfigurationsOfEveryRuntime(t *testing.T) {
	const uid, id = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9", "5f1e0c9d8b7a695847362514f3e2d1c0bfae9d8c7b6a59483726150403f2e1d0"
	containerd := `{"annotations": {"io.kubernetes.cri.container-name": "app", "io.kubernetes.cri.container-type": "container",
		"io.kubernetes.cri.sandbox-name": "web", "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-uid": "` + uid + `"}}`
	crio := `{"annotations": {"io.kubernetes.container.name": "app", "io.kubernetes.cri-o.ContainerType": "container",
		"io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "` + uid + `"}}`
	task := "containerd/io.containerd.runtime.v2.task/k8s.io/"
	for _, c := range []struct{ name, dir, config, container, pod string }{
		{"containerd", "run/" + task, containerd, "app", "web"},
		{"k3s, rke2", "run/k3s/" + task, containerd, "app", "web"},
		{"k0s", "run/k0s/" + task, containerd, "app", "web"},
		{"microk8s", "var/snap/microk8s/common/run/" + task, containerd, "app", "web"},
		{"CRI-O", "run/containers/storage/overlay-containers/", crio, "app", "web"},
		{"containerd before 1.6.11, without the UID", "run/" + task, strings.ReplaceAll(containerd, "sandbox-uid", "older"), "app", "web"},
		{"another pod's", "run/" + task, strings.ReplaceAll(containerd, uid, "another"), "", ""},
		{"being written", "run/" + task, containerd[:40], "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			file := filepath.Join(root, c.dir, id, map[bool]string{true: "userdata"}[c.config == crio], "config.json")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			f, ok := bundle(root, uid, id)
			if ok != (c.container != "") || f.Name != c.pod {
				t.Fatalf("%v: %+v", ok, f)
			}
			if ok && (f.Namespace != "shop" || f.UID != uid || len(f.Containers) != 1 || f.Containers[0].Name != c.container || f.Containers[0].Sandbox) {
				t.Errorf("%+v", f)
			}
		})
	}
}
