// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Runtime is a real containerd with real pods, in a node's network namespace. What it leaves on a node is below Root,
// which ktrace takes as --host-root; its control groups are the machine's.
type Runtime struct {
	t      testing.TB
	Root   string
	Socket string
	node   *NS
	client cri.RuntimeServiceClient
	made   atomic.Uint32
}

// CRIPod is a pod that a Runtime runs.
type CRIPod struct {
	r                    *Runtime
	Namespace, Name, UID string
	ID                   string // of its sandbox
	Addr                 string
	PID                  int // of the sandbox's process
	config               *cri.PodSandboxConfig
}

const (
	image      = "localhost/lab/box:1" // a registry that is this machine: nothing is ever pulled
	criTimeout = 30 * time.Second

	removeTries = 5

	runtimeNotices = 5 * time.Millisecond // between two questions whether it has
)

// containerdConfig has no sandbox that needs what machines for tests often lack: AppArmor, CAP_SYS_RESOURCE.
const containerdConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "%[1]s/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + image + `"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
`

// cniConfig gives pods addresses from a range of 13, so that they are soon used again.
const cniConfig = `{"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
  "ipam": {"type": "host-local", "dataDir": "%s/ipam", "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`

// NewRuntime starts containerd in the node's namespace; pods get addresses of the subnet. All of it ends with the test.
func NewRuntime(t testing.TB, node *NS, subnet string) *Runtime {
	t.Helper()
	root := hostRoot(t)
	r := &Runtime{t: t, Root: root, node: node, Socket: filepath.Join(root, "run/containerd/containerd.sock")}
	for name, text := range map[string]string{
		"containerd.toml":  fmt.Sprintf(containerdConfig, root),
		"cni/lab.conflist": fmt.Sprintf(cniConfig, root, subnet),
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.load()
	return r
}

// start runs containerd. nsenter joins the network namespace alone: the mounts that containerd makes are for all to see.
func (r *Runtime) start() {
	r.t.Helper()
	c := exec.Command("nsenter", "--net="+r.node.Path(), "containerd", "-c", filepath.Join(r.Root, "containerd.toml"))
	log, err := os.Create(filepath.Join(r.Root, "containerd.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+r.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.client = cri.NewRuntimeServiceClient(conn)
	r.t.Cleanup(func() {
		r.removeAll()
		_ = conn.Close()                      // nothing is in flight
		_ = c.Process.Signal(syscall.SIGTERM) // may have ended by itself
		_ = c.Wait()
		_ = log.Close()
		if r.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			r.t.Logf("containerd:\n%s", text[max(0, len(text)-4000):])
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), criTimeout)
	defer cancel()
	if _, err := r.client.Version(ctx, &cri.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		r.t.Fatalf("containerd: %v", err)
	}
}

// removeAll ends what tests left running.
func (r *Runtime) removeAll() {
	ctx, cancel := context.WithTimeout(context.Background(), criTimeout)
	defer cancel()
	all, err := r.client.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		r.t.Error(err)
		return
	}
	for _, s := range all.GetItems() {
		p := &CRIPod{r: r, ID: s.GetId(), UID: s.GetMetadata().GetUid()}
		p.Remove()
	}
	for _, d := range append(cgroupDirs("kubepods/besteffort"), cgroupDirs("kubepods")...) {
		_ = syscall.Rmdir(d) // another test's pods may be in it
	}
}

// cgroupDirs are a control group's directories in whatever hierarchies there are.
func cgroupDirs(path string) []string {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + path) // fails only for a bad pattern
	return append(dirs, "/sys/fs/cgroup/"+path)
}

// load makes an image of busybox, for pods as well as for their sandboxes, and has containerd take it.
func (r *Runtime) load() {
	r.t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		r.t.Fatal(err)
	}
	layer := archive(r.t, file{"bin/busybox", busybox, 0o755}, file{"etc/passwd", []byte("root:x:0:0::/:/bin/busybox\n"), 0o644})
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/busybox","sleep","100000"]},`+
		`"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`, sum(layer))
	manifest := fmt.Appendf(nil, `[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]`, sum(config), image)
	path := filepath.Join(r.Root, "image.tar")
	whole := archive(r.t, file{"manifest.json", manifest, 0o644}, file{sum(config) + ".json", config, 0o644}, file{"layer.tar", layer, 0o644})
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		r.t.Fatal(err)
	}
	run(r.t, "ctr", "-a", r.Socket, "-n", "k8s.io", "images", "import", path)
}

type file struct {
	name string
	data []byte
	mode int64
}

func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))})
		if _, err2 := w.Write(f.data); err != nil || err2 != nil {
			t.Fatal(errors.Join(err, err2))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Pod starts a pod, as the kubelet does. It may be called from any goroutine.
func (r *Runtime) Pod(namespace, name string) (*CRIPod, error) {
	p := &CRIPod{r: r, Namespace: namespace, Name: name, UID: fmt.Sprintf("%08x-0000-4000-9000-%012x", os.Getpid(), r.made.Add(1))}
	logs := filepath.Join(r.Root, "var/log/pods", namespace+"_"+name+"_"+p.UID)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	p.config = &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: p.UID},
		Hostname:     name,
		LogDirectory: logs,
		Labels: map[string]string{"app": strings.TrimRight(name, "-0123456789"), "io.kubernetes.pod.name": name,
			"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": p.UID},
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: "/kubepods/besteffort/pod" + p.UID},
	}
	ctx, cancel := context.WithTimeout(context.Background(), criTimeout)
	defer cancel()
	made, err := r.client.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: p.config})
	if err != nil {
		return nil, err
	}
	p.ID = made.GetPodSandboxId()
	status, err := r.client.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.ID, Verbose: true})
	if err != nil {
		return nil, err
	}
	p.Addr = status.GetStatus().GetNetwork().GetIp()
	var info struct{ Pid int }
	err = json.Unmarshal([]byte(status.GetInfo()["info"]), &info)
	p.PID = info.Pid
	return p, err
}

// Run runs a shell command in a container of the pod and returns when it has ended and the runtime knows.
func (p *CRIPod) Run(name, script string) error {
	id, err := p.Start(name, script)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), criTimeout)
	defer cancel()
	for {
		status, err := p.r.client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
		if err != nil || status.GetStatus().GetState() == cri.ContainerState_CONTAINER_EXITED {
			return err
		}
		var info struct{ Pid int }
		if err := json.Unmarshal([]byte(status.GetInfo()["info"]), &info); err != nil {
			return err
		}
		if err := awaitEnd(info.Pid); err != nil {
			return err
		}
	}
}

// awaitEnd waits for the end of a process; none, or one that has ended, is waited for a moment, as its runtime may be
// about to notice.
func awaitEnd(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		time.Sleep(runtimeNotices)
		return nil
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(criTimeout.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Start runs a shell command in a container of the pod and returns the container's id.
func (p *CRIPod) Start(name, script string) (id string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), criTimeout)
	defer cancel()
	c, err := p.r.client.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: p.ID, SandboxConfig: p.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: name},
			Image:    &cri.ImageSpec{Image: image},
			Command:  []string{"/bin/busybox", "sh", "-c", script},
			LogPath:  name + ".log",
			Linux:    &cri.LinuxContainerConfig{},
			Labels:   map[string]string{"io.kubernetes.container.name": name},
		}})
	if err != nil {
		return "", err
	}
	_, err = p.r.client.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.GetContainerId()})
	return c.GetContainerId(), err
}

// Exec runs a shell command in a container that runs, as "kubectl exec" does.
func (p *CRIPod) Exec(container, script string) error {
	ctx, cancel := context.WithTimeout(context.Background(), criTimeout)
	defer cancel()
	answer, err := p.r.client.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: []string{"/bin/busybox", "sh", "-c", script}, Timeout: int64(criTimeout.Seconds())})
	if err == nil && answer.GetExitCode() != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", script, answer.GetExitCode(), answer.GetStderr())
	}
	return err
}

// Remove stops and removes the pod and its control groups. As the kubelet does, it tries again: containerd fails to kill
// a container that ends at that very time.
func (p *CRIPod) Remove() {
	ctx, cancel := context.WithTimeout(context.Background(), criTimeout)
	defer cancel()
	var err error
	for range removeTries {
		_, stop := p.r.client.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.ID})
		_, remove := p.r.client.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.ID})
		if err = errors.Join(stop, remove); err == nil {
			break
		}
	}
	if err != nil {
		p.r.t.Errorf("pod %s: %v", p.Name, err)
	}
	for _, d := range cgroupDirs("kubepods/besteffort/pod" + p.UID) {
		_ = syscall.Rmdir(d) // as the kubelet does in the end; not every one is there
	}
}
