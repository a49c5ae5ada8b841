// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"strings"

	"sigs.k8s.io/yaml"

	"ktrace/tracer/procfs"
)

// KubeletConfig is what of the kubelet's configuration says something about pods (KubeletConfiguration, kubelet.config.k8s.io).
type KubeletConfig struct {
	CgroupRoot string   `json:"cgroupRoot"`
	ClusterDNS []string `json:"clusterDNS"`
}

// kubeletConfigs are where distributions keep it, as a file or a directory of such.
var kubeletConfigs = [...]string{
	"var/lib/kubelet/config.yaml",                // kubeadm, k0s
	"etc/kubernetes/kubelet/config.json",         // EKS, Amazon Linux 2023
	"etc/kubernetes/kubelet/kubelet-config.json", // EKS, Amazon Linux 2
	"etc/kubernetes/kubelet.conf",                // OpenShift, where others have the kubeconfig
	"home/kubernetes/kubelet-config.yaml",        // GKE
	"etc/default/kubeletconfig.json",             // AKS
	"var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf",
	"var/lib/rancher/rke2/agent/etc/kubelet.conf.d/00-rke2-defaults.conf",
}

// kubeletArgs are files with options of a kubelet that has no configuration of its own.
var kubeletArgs = [...]string{
	"var/snap/microk8s/current/args/kubelet",
	"etc/rancher/k3s/config.yaml",
	"etc/rancher/rke2/config.yaml",
}

const maxKubeletConfig = 1 << 20 // bytes

// ReadKubeletConfig reads the configuration of a node's kubelet from the node's files; what none says is empty.
func ReadKubeletConfig(node *procfs.FS) (all KubeletConfig) {
	files := node.Tree(node.HostRoot())
	for _, name := range kubeletConfigs {
		all.add(readKubeletConfig(files, name))
	}
	for _, name := range kubeletArgs {
		if text, err := files.ReadFile(name, maxKubeletConfig); err == nil {
			all.add(kubeletOptions(string(text)))
		}
	}
	return all
}

// add takes in what is not known yet.
func (c *KubeletConfig) add(more KubeletConfig) {
	if c.CgroupRoot == "" {
		c.CgroupRoot = more.CgroupRoot
	}
	if len(c.ClusterDNS) == 0 {
		c.ClusterDNS = more.ClusterDNS
	}
}

func readKubeletConfig(files procfs.Tree, name string) (c KubeletConfig) {
	text, err := files.ReadFile(name, maxKubeletConfig)
	if err != nil || yaml.Unmarshal(text, &c) != nil {
		return KubeletConfig{} // there is none, or another kind of file
	}
	return c
}

// kubeletOptions reads lines with options: "--cluster-dns=10.0.0.10", "cluster-dns: 10.43.0.10", "- kubelet-arg=cgroup-root=/a".
func kubeletOptions(text string) (c KubeletConfig) {
	for line := range strings.Lines(text) {
		line = strings.NewReplacer("\"", "", "'", "", ": ", "=").Replace(strings.TrimSpace(line))
		words := []string{strings.TrimLeft(line, "- ")}
		if i := strings.LastIndex(words[0], "arg="); i >= 0 {
			words[0] = words[0][i+len("arg="):]
		}
		words[0] = "--" + words[0]
		more := KubeletConfig{CgroupRoot: option(words, "cgroup-root")}
		if dns := option(words, "cluster-dns"); dns != "" {
			more.ClusterDNS = strings.Split(dns, ",")
		}
		c.add(more)
	}
	return c
}

// option is the value of a command's option, "--name=value" or "--name value", "" if it has none.
func option(args []string, name string) string {
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return value
		}
		if a == "--"+name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}
