package decoder

import "fmt"

// Program is a BPF program, or another filter, that packets pass at a device.
type Program struct {
	Netns   uint32 `json:"netns"`
	Ifindex uint32 `json:"ifindex"`
	At      string `json:"at"`   // tcx/ingress, tcx/egress, clsact/ingress, clsact/egress, netkit/primary, netkit/peer, xdp
	ID      uint32 `json:"id"`   // of a BPF program, 0 of another filter
	Name    string `json:"name"` // the program's, or the filter's kind
}

// String is how it is named in evidence.
func (p Program) String() string {
	if p.ID == 0 {
		return fmt.Sprintf("filter %s at %s", p.Name, p.At)
	}
	return fmt.Sprintf("program %d, %s, at %s", p.ID, p.Name, p.At)
}
