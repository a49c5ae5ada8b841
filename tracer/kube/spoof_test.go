// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/testdata/lab"
	"ktrace/tracer/kube"
)

const nobody = 65534

// cgroupsOf counts a pod's control groups, and those of its containers.
func cgroupsOf(p pod.Info) int {
	n := len(p.Cgroups)
	for _, c := range p.Containers {
		n += len(c.Cgroups)
	}
	return n
}

// TestCgroupsThatAUserNamesLikeAPods has a user make control groups that have the name of a static pod's, where he may, before
// ktrace begins and after.
func TestCgroupsThatAUserNamesLikeAPods(t *testing.T) {
	k := lab.NewKubelet(t)
	etcd := k.StaticPod("kube-system", "etcd-node1")
	id := strings.Repeat("0123456789abcdef", 4)
	service := fmt.Sprintf("kt%d-%s.service", os.Getpid(), etcd.UID[24:])
	k.Delegate(service, nobody)
	forms := []string{"pod%s/" + id, "kubepods/besteffort/pod%s/" + id, "kubepods.slice/kubepods-pod%s.slice/crio-" + id + ".scope", "kubepods-pod%s.slice:cri-containerd:" + id}
	for i, form := range forms {
		k.Cgroup(filepath.Join(service, "before", fmt.Sprint(i), fmt.Sprintf(form, etcd.UID)), nobody)
	}
	k.Cgroup(service+"/root/kubepods/besteffort/pod"+etcd.UID, 0) // root's, but no kubelet's
	n := watch(t, k.Root)
	n.is(etcd, "is known by its own", func(p pod.Info) bool { return cgroupsOf(p) == 1 && p.Name == "etcd-node1" })
	for i, form := range forms {
		path := filepath.Join(service, "after", fmt.Sprint(i), fmt.Sprintf(form, etcd.UID))
		k.Cgroup(path, nobody)
		k.Rmdir(path)
		n.await("the removal of "+path, func(e event.Event) bool {
			b, ok := e.Body.(event.Cgroup)
			return ok && b.Op == event.CgroupRmdir && b.Path == "/"+path
		})
	}
	if p, _ := n.index.Pod(etcd.UID); cgroupsOf(p) != 1 || len(p.Containers) > 0 || p.Name != "etcd-node1" {
		t.Errorf("a user's control groups count as the pod's, or ended it: %+v", p)
	}
}

// TestRootsOfKubelets: a kubelet keeps its pods where it is configured to.
func TestRootsOfKubelets(t *testing.T) {
	const uid = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9"
	for name, file := range map[string]struct{ path, text string }{
		"no kubelet has it": {"etc/other", "cgroupRoot: /ROOT"},
		"configuration":     {"var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncgroupRoot: /ROOT\n"},
		"EKS":               {"etc/kubernetes/kubelet/config.json", `{"kind": "KubeletConfiguration", "cgroupRoot": "/ROOT"}`},
		"k3s":               {"etc/rancher/k3s/config.yaml", "kubelet-arg:\n- \"cgroup-root=ROOT\"\n"},
		"microk8s":          {"var/snap/microk8s/current/args/kubelet", "--resolv-conf=/a\n--cgroup-root=/ROOT\n"},
	} {
		t.Run(name, func(t *testing.T) {
			k := lab.NewKubelet(t)
			root := fmt.Sprintf("kt%d%s", os.Getpid(), filepath.Base(k.Root))
			at := filepath.Join(k.Root, file.path)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(strings.ReplaceAll(file.text, "ROOT", root)), 0o644); err != nil {
				t.Fatal(err)
			}
			k.Cgroup(root+"/kubepods/pod"+uid, 0)
			w := start(t, kube.Options{HostRoot: k.Root})
			is := false
			for _, p := range w.Pods() {
				is = is || p.UID == uid
			}
			if want := name != "no kubelet has it"; is != want {
				t.Errorf("pod known: %v, want %v", is, want)
			}
		})
	}
}

// TestAttackKubeletThatIsAPods: root in a pod runs what is called kubelet, and is configured like one. The node's own is believed.
func TestAttackKubeletThatIsAPods(t *testing.T) {
	const uid = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9"
	k := lab.NewKubelet(t)
	root := fmt.Sprintf("kt%d%s", os.Getpid(), filepath.Base(k.Root))
	k.Cgroup(root+"/kubepods/pod"+uid, 0)
	program := filepath.Join(t.TempDir(), "kubelet")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho ready\nread _\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		c := exec.Command(args[0], append(args[1:], program, "--cgroup-root=/"+root)...)
		in, err := c.StdinPipe()
		out, outErr := c.StdoutPipe()
		if err := errors.Join(err, outErr, c.Start()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = in.Close(), c.Wait() }) // it ends when it can read no more
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	known := func() bool {
		return slices.ContainsFunc(start(t, kube.Options{HostRoot: k.Root}).Pods(), func(p pod.Info) bool { return p.UID == uid })
	}
	run("sh", "-c", `echo $$ >`+k.Pod("default", "evil").Cgroup2()+`/cgroup.procs; exec "$@"`, "sh")
	if known() {
		t.Error("a pod's kubelet is believed")
	}
	if run("env"); !known() {
		t.Error("the node's kubelet is not believed")
	}
}

// TestDirectoriesOfThePodThatRootDidNotMake: the kubelet's directories are root's.
func TestDirectoriesOfThePodThatRootDidNotMake(t *testing.T) {
	for name, dir := range map[string]string{"logs": "var/log/pods/default_web_UID", "volumes": "var/lib/kubelet/pods/UID"} {
		t.Run(name, func(t *testing.T) {
			k := lab.NewKubelet(t)
			web, other := k.Pod("default", "web"), k.Pod("default", "other")
			at := filepath.Join(k.Root, strings.Replace(dir, "UID", web.UID, 1))
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(at, nobody, nobody); err != nil {
				t.Fatal(err)
			}
			w := start(t, kube.Options{HostRoot: k.Root})
			if p, ok := named(w, "web"); ok {
				t.Errorf("taken for a pod: %+v", p)
			}
			if p, ok := named(w, "other"); !ok || p.UID != other.UID {
				t.Errorf("the other is not known: %+v", w.Pods())
			}
		})
	}
}
