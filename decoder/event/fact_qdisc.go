// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// Qdisc is a queueing discipline of a device, with what it has counted since it was made.
type Qdisc struct {
	Netns      uint32 `json:"netns"`
	Ifindex    uint32 `json:"ifindex"`
	Kind       string `json:"kind"` // as tc names it: fq_codel, tbf, noqueue, ingress, ...
	Handle     uint32 `json:"handle,omitempty"`
	Parent     uint32 `json:"parent"` // 0xffffffff: it is the device's root, 0xfffffff1: it is for what arrives
	Packets    uint64 `json:"packets"`
	Bytes      uint64 `json:"bytes"`
	Dropped    uint64 `json:"dropped"`
	Overlimits uint64 `json:"overlimits,omitempty"`
	Backlog    uint32 `json:"backlog,omitempty"` // packets that wait

	// NoCarrier is whether the device has none, or is down: then it takes no packet, whatever its queue.
	NoCarrier bool `json:"no_carrier,omitempty"`
}

// Root is whether everything that leaves the device passes it.
func (q Qdisc) Root() bool { return q.Parent == 0xffffffff }

// String is the kind, and the handle as tc writes it.
func (q Qdisc) String() string { return fmt.Sprintf("%s %x:", q.Kind, q.Handle>>16) }
