package decoder

import "fmt"

// CgroupOp says what became of a control group.
type CgroupOp string

// What may become of a control group.
const (
	CgroupMkdir   CgroupOp = "mkdir"
	CgroupRelease CgroupOp = "release" // removed, and the last reference to it gone
	CgroupAttach  CgroupOp = "attach"  // the process of the header moved into it
)

// Cgroup tells of a control group that came, went or was entered; Header.Cgroup is its id.
type Cgroup struct {
	Op        CgroupOp `json:"op"`
	Hierarchy uint16   `json:"hierarchy"` // 1 is cgroup2, others are version 1
	Path      string   `json:"path"`      // within its hierarchy: /kubepods/burstable/pod.../...
}

// Kind implements Body.
func (Cgroup) Kind() Kind { return KindCgroup }

// Summary implements Body.
func (c Cgroup) Summary() string { return fmt.Sprintf("%s %s", c.Op, c.Path) }

func decodeCgroup(raw []byte, e *Event) error {
	var r cgroupRecord
	if err := unpack(raw, &r); err != nil {
		return err
	}
	ops := map[cgroupOp]CgroupOp{cgroupMkdir: CgroupMkdir, cgroupRelease: CgroupRelease, cgroupAttach: CgroupAttach}
	op, ok := ops[cgroupOp(r.Op)]
	if !ok {
		op = CgroupOp(fmt.Sprintf("unknown(%#x)", r.Op))
	}
	e.Body = Cgroup{Op: op, Hierarchy: r.Hierarchy, Path: cString(r.Path[:min(int(r.PathLen), len(r.Path))])}
	return nil
}
