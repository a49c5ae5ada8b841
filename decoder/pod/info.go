// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
	"time"

	"ktrace/decoder/event"
)

// Info is what is known of a pod, and by which source.
type Info struct {
	UID         string            `json:"uid"`
	Namespace   string            `json:"namespace,omitempty"`
	Name        string            `json:"name,omitempty"`
	Node        string            `json:"node,omitempty"` // "" if it runs on this one
	Static      bool              `json:"static,omitempty"`
	HostNetwork bool              `json:"host_network,omitempty"`
	Labels      map[string]string `json:"labels,omitzero"`   // nil: no source has them
	Cgroups     []uint64          `json:"cgroups,omitempty"` // of the pod itself
	Netns       uint32            `json:"netns,omitempty"`
	Addrs       []netip.Addr      `json:"addrs,omitempty"`
	Veth        uint32            `json:"veth,omitempty"` // index of the node's end of its device, 0 if unknown
	Containers  []*Container      `json:"containers,omitempty"`
	// Sources has the source of each of these, by the name of the field.
	Sources map[string]string `json:"sources"`

	since time.Time // nothing of it was another's after that
	ended time.Time // zero while it lives
	size  int       // bytes, as the Index counts them
}

// Container is one container of a pod, or the sandbox that holds its namespaces.
type Container struct {
	ID      string   `json:"id"`
	Name    string   `json:"name,omitempty"`
	Sandbox bool     `json:"sandbox,omitempty"`
	Cgroups []uint64 `json:"cgroups,omitempty"`
	Source  string   `json:"source,omitempty"` // of the name
	Gone    bool     `json:"gone,omitempty"`
}

// trust orders sources of names, best first. The kubelet's log directories are there before the first packet, are
// exact for static pods too, and are read from disk.
var trust = [...]string{"log", "bundle", "cri", "api"}

// Better reports whether a source is to be believed rather than another.
func Better(source, than string) bool {
	for _, s := range trust {
		switch s {
		case than:
			return false
		case source:
			return true
		}
	}
	return than == ""
}

// container returns the container of that id, which is new if it was not known.
func (p *Info) container(id string) *Container {
	for _, c := range p.Containers {
		if c.ID == id {
			return c
		}
	}
	c := &Container{ID: id}
	p.Containers = append(p.Containers, c)
	return c
}

// end is the pod as one end of an event.
func (p *Info) end(c *Container, source string) event.Pod {
	if p.Sources["name"] == SourcePtcpdump {
		source = SourcePtcpdump
	}
	e := event.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID, Source: source}
	if c != nil {
		e.Container = c.Name
	}
	return e
}
