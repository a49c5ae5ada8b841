package kube

import (
	"os"
	"path/filepath"
	"regexp"
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

// kubeletConfigs are files of a node that may say which root its kubelet has.
var kubeletConfigs = [...]string{
	"var/lib/kubelet/config.yaml",
	"etc/kubernetes/kubelet/config.json", // EKS
	"etc/kubernetes/kubelet/kubelet-config.json",
	"etc/kubernetes/kubelet.conf", // OpenShift, where the kubeconfig is another
	"etc/rancher/k3s/config.yaml",
	"etc/rancher/rke2/config.yaml",
	"var/snap/microk8s/current/args/kubelet",
}

// kubeletPrograms are the names of processes that are a kubelet, or have one in them.
var kubeletPrograms = [...]string{"kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent"}

const maxKubeletConfig = 1 << 20 // bytes

// look reads the configuration of the kubelets: from the node's files, and from the command lines of root's processes.
func (k *kubelets) look() {
	k.roots = map[string]bool{}
	files := k.node.Tree(k.node.HostRoot())
	read := func(name string) {
		if text, err := files.ReadFile(name, maxKubeletConfig); err == nil {
			k.learn(string(text))
		}
	}
	for _, name := range kubeletConfigs {
		read(name)
	}
	for p := range k.node.Processes() {
		if !isKubelet(p) {
			continue
		}
		line, err := p.Cmdline()
		if err != nil {
			continue // it has ended
		}
		k.learn(strings.ReplaceAll(line, "\x00", " "))
		if m := configOption.FindStringSubmatch(strings.ReplaceAll(line, "\x00", "\n")); m != nil {
			read(m[1])
		}
	}
}

func isKubelet(p procfs.Process) bool {
	comm := p.Comm()
	for _, name := range kubeletPrograms {
		if comm == name {
			return p.OfRoot()
		}
	}
	return false
}

var (
	configOption = regexp.MustCompile(`(?m)^--config[=\n](/.+)$`)
	// rootOption is a line of a command, "--cgroup-root=/a", or of a configuration, "cgroupRoot: /a".
	rootOption = regexp.MustCompile(`cgroup(?:-r|R)oot["']?\s*[:= ]\s*["']?/?([A-Za-z0-9_.@:/-]+)`)
)

func (k *kubelets) learn(text string) {
	for _, m := range rootOption.FindAllStringSubmatch(text, -1) {
		root := filepath.Join("/", m[1])
		k.roots[root] = true
		k.roots[strings.ReplaceAll(root, "-", "_")] = true // as slices have it
	}
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
