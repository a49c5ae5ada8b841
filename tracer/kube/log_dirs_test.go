// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ktrace/tracer/procfs"
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
			f, ok := bundle(procfs.New(root), uid, id)
			if ok != (c.container != "") || f.Name != c.pod {
				t.Fatalf("%v: %+v", ok, f)
			}
			if ok && (f.Namespace != "shop" || f.UID != uid || len(f.Containers) != 1 || f.Containers[0].Name != c.container || f.Containers[0].Sandbox) {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestAttackHugeBundle: a file that is no container's configuration is not read whole, and a pipe in its place is not waited for.
func TestAttackHugeBundle(t *testing.T) {
	t.Parallel()
	const uid, id = "12345678-1111-2222-3333-123456789012", "c0ffee"
	config := `{"annotations": {"io.kubernetes.cri.container-name": "app", "io.kubernetes.cri.sandbox-name": "web"}}`
	for name, make := range map[string]func(file string) error{
		"huge": func(file string) error {
			return errors.Join(os.WriteFile(file, []byte(config), 0o600), os.Truncate(file, 1<<40))
		},
		"a pipe": func(file string) error { return unix.Mkfifo(file, 0o600) },
	} {
		root := t.TempDir()
		dir := filepath.Join(root, "run/containerd/io.containerd.runtime.v2.task/k8s.io", id)
		if err := errors.Join(os.MkdirAll(dir, 0o755), make(filepath.Join(dir, "config.json"))); err != nil {
			t.Fatal(err)
		}
		if f, ok := bundle(procfs.New(root), uid, id); ok {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
