package decoder

import "fmt"

// Drop is a packet that the kernel threw away.
type Drop struct {
	Reason      string     `json:"reason"`   // by the name that this kernel gives it, not-told before 5.17
	Location    string     `json:"location"` // function that gave the packet up
	Netfilter   *RuleFact  `json:"netfilter,omitempty"`
	Verdict     string     `json:"verdict,omitempty"`
	Conntrack   *Conntrack `json:"conntrack,omitempty"`
	SocketNetns uint32     `json:"socket_netns,omitempty"` // of the socket that was to have it, where that is known

	Code    uint32 `json:"-"` // the kernel's number of the reason
	Address uint64 `json:"-"` // in the function
}

// ReasonNotTold stands for the reason on kernels that give none (before 5.17).
const ReasonNotTold = "not-told"

// Kind implements Body.
func (Drop) Kind() Kind { return KindDrop }

// Summary implements Body.
func (d Drop) Summary() string { return fmt.Sprintf("%s in %s", d.Reason, d.Location) }

func decodeDrop(raw []byte, e *Event) error {
	var r pathRecord
	if err := unpack(raw, &r); err != nil {
		return err
	}
	r.header(e)
	e.Body = Drop{
		Reason:      fmt.Sprintf("unknown(%#x)", r.Reason),
		Location:    fmt.Sprintf("unknown(%#x)", r.Location),
		Conntrack:   r.conntrack(),
		SocketNetns: r.SocketNetns,
		Code:        r.Reason,
		Address:     r.Location,
	}
	return nil
}
