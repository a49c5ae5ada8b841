// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// Program is a BPF program, or another filter, that packets pass at a device, or at the sockets of a control group.
type Program struct {
	Netns   uint32 `json:"netns"`
	Ifindex uint32 `json:"ifindex"`
	At      string `json:"at"`               // tcx/ingress, tcx/egress, clsact/..., netkit/primary, netkit/peer, xdp, cgroup/ingress, cgroup/egress
	ID      uint32 `json:"id"`               // of a BPF program, 0 of another filter
	Name    string `json:"name"`             // the program's, or the filter's kind
	Cgroup  uint64 `json:"cgroup,omitempty"` // id of the control group that it filters for; then it is at no device
	Dir     string `json:"dir,omitempty"`    // of the control group that it is attached to: that one, or one above it
}

// Where programs of control groups are.
const (
	AtCgroupIngress = "cgroup/ingress"
	AtCgroupEgress  = "cgroup/egress"
)

// String is how it is named in evidence.
func (p Program) String() string {
	if p.ID == 0 {
		return fmt.Sprintf("filter %s at %s", p.Name, p.At)
	}
	text := p.Title() + ", at " + p.At
	if p.Dir != "" {
		text += " of " + p.Dir
	}
	return text
}

// Title is the program by its number and its name, if it has one.
func (p Program) Title() string {
	if p.Name == "" {
		return fmt.Sprintf("program %d", p.ID)
	}
	return fmt.Sprintf("program %d, %s", p.ID, p.Name)
}
