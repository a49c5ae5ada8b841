// SPDX-License-Identifier: Apache-2.0

// Package kube finds out which pods run on this node, from what every node has: control groups, the kubelet's log
// directories, /proc and network namespaces. It needs neither the Kubernetes API nor a container runtime, for they may
// be what is broken.
//
//	cgroup events ──► Watcher ──► facts (into the stream)
//	walk, /var/log/pods,    └───► selection maps (into the kernel)
//	/proc, netlink
package kube
