// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"strings"
	"testing"
)

const (
	uid     = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9"
	slice   = "0b1c2d3e_4f50_4617_8293_a4b5c6d7e8f9"
	hash    = "c1d2e3f405162738495a6b7c8d9eafb0"
	id      = "5f1e0c9d8b7a695847362514f3e2d1c0bfae9d8c7b6a59483726150403f2e1d0"
	another = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

func TestPathsOfEveryRuntimeAndDriver(t *testing.T) {
	podOnly, container, nested := Ref{UID: uid}, Ref{UID: uid, Container: id}, Ref{UID: uid, Container: id, Nested: true}
	for _, c := range []struct {
		name, path string
		want       Ref
	}{
		{"cgroupfs, best effort pod", "/kubepods/besteffort/pod" + uid, podOnly},
		{"cgroupfs, guaranteed pod", "/kubepods/pod" + uid, podOnly},
		{"cgroupfs, containerd or cri-dockerd", "/kubepods/burstable/pod" + uid + "/" + id, container},
		{"cgroupfs, CRI-O", "/kubepods/burstable/pod" + uid + "/crio-" + id, container},
		{"cgroupfs, static pod", "/kubepods/burstable/pod" + hash + "/" + id, Ref{UID: hash, Container: id}},
		{"cgroupfs, kata sandbox", "/kubepods/pod" + uid + "/kata_" + id, container},
		{"systemd, pod", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + slice + ".slice", podOnly},
		{"systemd, guaranteed pod", "/kubepods.slice/kubepods-pod" + slice + ".slice", podOnly},
		{"systemd, containerd, also k3s, rke2, k0s, microk8s", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice + ".slice/cri-containerd-" + id + ".scope", container},
		{"systemd, CRI-O", "/kubepods.slice/kubepods-pod" + slice + ".slice/crio-" + id + ".scope", container},
		{"systemd, CRI-O with crun's own cgroup below", "/kubepods.slice/kubepods-pod" + slice + ".slice/crio-" + id + ".scope/container", nested},
		{"systemd, CRI-O's monitor", "/kubepods.slice/kubepods-pod" + slice + ".slice/crio-conmon-" + id + ".scope", Ref{UID: uid, Nested: true}},
		{"systemd, cri-dockerd", "/kubepods.slice/kubepods-pod" + slice + ".slice/docker-" + id + ".scope", container},
		{"systemd, podman", "/kubepods.slice/kubepods-pod" + slice + ".slice/libpod-" + id + ".scope", container},
		{"systemd, static pod", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + hash + ".slice/cri-containerd-" + id + ".scope", Ref{UID: hash, Container: id}},
		{"systemd, kubelet with a cgroup root", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + slice + ".slice/cri-containerd-" + id + ".scope", container},
		{"systemd path driven as cgroupfs", "/system.slice/containerd.service/kubepods-burstable-pod" + slice + ".slice:cri-containerd:" + id, container},
		{"the same, guaranteed and at the top", "/kubepods-pod" + slice + ".slice:cri-containerd:" + id, container},
		{"node that is itself a container: kind", "/docker/" + another + "/kubelet/kubepods/burstable/pod" + uid + "/" + id, container},
		{"kind with systemd", "/system.slice/docker-" + another + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + slice + ".slice/cri-containerd-" + id + ".scope", container},
		{"docker in a pod", "/kubepods/besteffort/pod" + uid + "/" + id + "/docker/" + another, nested},
		{"systemd in a pod", "/kubepods/besteffort/pod" + uid + "/" + id + "/init.scope", nested},
		{"kind in a pod", "/kubepods/pod" + uid + "/" + id + "/kubelet/kubepods/pod11111111-2222-4333-8444-555555555555/" + another, nested},
		{"as seen from another cgroup namespace", "/../../kubepods/pod" + uid + "/" + id, container},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := ParseCgroup(c.path)
			if !ok || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, ok, c.want)
			}
		})
	}
}

func TestPathsOfNoPod(t *testing.T) {
	for _, path := range []string{
		"", "/", "/kubepods", "/kubepods.slice/kubepods-besteffort.slice", "/system.slice/containerd.service",
		"/docker/" + id, "/user.slice/user-0.slice/session-1.scope", "/kubepods/podinfo", "/kubepods/pod" + uid[1:],
		"/system.slice/other.slice:cri-containerd:" + id, "/machine.slice/libpod-" + id + ".scope",
		// What a user names like one: below a session, or out of the places that the kubelet's drivers make.
		"/user.slice/user-1000.slice/user@1000.service/pod" + uid,
		"/user.slice/user-1000.slice/user@1000.service/kubepods/besteffort/pod" + uid + "/" + id,
		"/user.slice/user-1000.slice/user@1000.service/kubepods.slice/kubepods-pod" + slice + ".slice/crio-" + id + ".scope",
		"/user.slice/user-1000.slice/session-3.scope/kubepods-pod" + slice + ".slice:cri-containerd:" + id,
		"/pod" + uid, "/system.slice/pod" + uid + "/" + id, "/kubepods/other/pod" + uid, "/besteffort/pod" + uid, "/kubepods/besteffort/deeper/pod" + uid,
		"/kubepods-pod" + slice + ".slice", "/kubepods.slice/kubepods-burstable-pod" + slice + ".slice", "/a.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + slice + ".slice",
		"/kubepods.slice/pod" + uid, "/kubepods.slice/kubepods-besteffort.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice + ".slice",
	} {
		if ref, ok := ParseCgroup(path); ok {
			t.Errorf("%q: %+v", path, ref)
		}
	}
}

func TestKubeletsDirectories(t *testing.T) {
	for path, want := range map[string]KubeletDir{
		"/kubepods/besteffort/pod" + uid + "/" + id:                                            {Pod: "/kubepods/besteffort/pod" + uid},
		"/a/b/kubepods/pod" + uid:                                                              {Root: "/a/b", Pod: "/a/b/kubepods/pod" + uid},
		"/docker/" + another + "/kubelet/kubepods/pod" + uid:                                   {Node: "/docker/" + another, Root: "/kubelet", Pod: "/docker/" + another + "/kubelet/kubepods/pod" + uid},
		"/docker/" + another + "/docker/" + id + "/kubepods/pod" + uid:                         {Node: "/docker/" + another + "/docker/" + id, Pod: "/docker/" + another + "/docker/" + id + "/kubepods/pod" + uid},
		"/system.slice/docker-" + id + ".scope/kubepods.slice/kubepods-pod" + slice + ".slice": {Node: "/system.slice/docker-" + id + ".scope", Pod: "/system.slice/docker-" + id + ".scope/kubepods.slice/kubepods-pod" + slice + ".slice"},
		"/k.slice/k-kubepods.slice/k-kubepods-pod" + slice + ".slice":                          {Root: "/k", Pod: "/k.slice/k-kubepods.slice/k-kubepods-pod" + slice + ".slice"},
		"/machine.slice/libpod-" + id + ".scope/container/kubepods/pod" + uid:                  {Node: "/machine.slice/libpod-" + id + ".scope/container", Pod: "/machine.slice/libpod-" + id + ".scope/container/kubepods/pod" + uid},
		"/lxc/node/kubepods/pod" + uid:                                                         {Node: "/lxc/node", Pod: "/lxc/node/kubepods/pod" + uid},
		"/system.slice/x.service/kubepods/pod" + uid:                                           {Root: "/system.slice/x.service", Pod: "/system.slice/x.service/kubepods/pod" + uid},
		"/system.slice/x.service/kubepods-pod" + slice + ".slice:cri-containerd:" + id:         {Pod: "/system.slice/x.service/kubepods-pod" + slice + ".slice:cri-containerd:" + id},
	} {
		if got, ok := KubeletDirOf(path); !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", path, got, ok, want)
		}
	}
}

func TestNamesInLogDirectories(t *testing.T) {
	if ns, name, got, ok := ParseLogDir("kube-system_etcd-node-1_" + hash); !ok || ns != "kube-system" || name != "etcd-node-1" || got != hash {
		t.Errorf("got %q %q %q %v", ns, name, got, ok)
	}
	if container, got, ok := ParseContainerLog("web-7d9_default_app-with-dash-" + id + ".log"); !ok || container != "app-with-dash" || got != id {
		t.Errorf("got %q %q %v", container, got, ok)
	}
	for _, bad := range []string{"", "_", "__", "a_b", "a_b_", "a_b_c_d"} {
		if _, _, _, ok := ParseLogDir(bad); ok {
			t.Errorf("log directory %q is taken", bad)
		}
	}
	for _, bad := range []string{"", "a_b_c.log", "a_b_c-" + id, "a_b_-" + id + ".log"} {
		if _, _, ok := ParseContainerLog(bad); ok {
			t.Errorf("log %q is taken", bad)
		}
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add("/kubepods/besteffort/pod" + uid + "/" + id)
	f.Add("/kubepods-pod" + slice + ".slice:cri-containerd:" + id)
	f.Fuzz(func(t *testing.T, path string) {
		ref, ok := ParseCgroup(path)
		if ok != (ref.UID != "") || strings.Contains(ref.UID, "_") || ref.Container != "" && ref.UID == "" {
			t.Errorf("%q: %+v, %v", path, ref, ok)
		}
	})
}
