// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"time"
)

// PodFact is what one source says of a pod. Facts of several sources, and of one source at several times, add up;
// the pod's UID joins them.
type PodFact struct {
	UID         string            `json:"uid"` // of a static pod the hash of its manifest: 32 hex digits
	Namespace   string            `json:"namespace,omitempty"`
	Name        string            `json:"name,omitempty"`
	Source      string            `json:"source"`          // log, bundle, cgroup, netns, cri, api: where the fact was read
	Labels      map[string]string `json:"labels,omitzero"` // nil: not known
	Netns       uint32            `json:"netns,omitempty"`
	HostNetwork bool              `json:"host_network,omitempty"` // its namespace is the node's, so Netns does not identify it
	Addrs       []netip.Addr      `json:"addrs,omitempty"`        // its own; never the node's
	Node        string            `json:"node,omitempty"`         // where it runs, if that is another node
	Cgroups     []uint64          `json:"cgroups,omitempty"`      // ids of the pod's own cgroup
	Containers  []ContainerFact   `json:"containers,omitempty"`
	// At is since when the pod has the namespace and the addresses, or until when it had them, by the clock of the
	// event that the fact comes in, since 1970. 0 is since the first fact about it, or until the time of the fact: a source
	// may be behind, or ahead of, the events.
	At time.Duration `json:"at,omitempty"`
	// Gone: what the fact lists of namespace, addresses and containers ended at its time; of a container that lists
	// cgroups only those did. If the fact lists nothing, the pod ended.
	Gone bool `json:"gone,omitempty"`
}

// ContainerFact is one container of a pod.
type ContainerFact struct {
	ID      string   `json:"id"`
	Name    string   `json:"name,omitempty"`
	Sandbox bool     `json:"sandbox,omitempty"` // it only holds the pod's namespaces: pause
	Cgroups []uint64 `json:"cgroups,omitempty"` // ids of its cgroup and of those nested in it
}
