package tracer

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// Examine tries every variant of every hook on this kernel, detaching each at once, and returns which would be
// taken and why the better ones were refused.
func Examine() ([]Taken, error) {
	_ = rlimit.RemoveMemlock() // as Open
	var all []Taken
	for _, p := range Probes() {
		o, err := loadMaps(p, nil, map[string]*ebpf.Map{}, defaultRing)
		if err != nil {
			return nil, err
		}
		for _, h := range p.Hooks {
			all = append(all, o.take(h, ""))
		}
		if err := errors.Join(o.close()); err != nil {
			return nil, err
		}
	}
	return all, nil
}
