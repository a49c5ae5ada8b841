// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"strings"

	"ktrace/decoder/wire"
)

// KindCgroup is a cgroup that was created, removed or entered.
const KindCgroup Kind = "cgroup"

// CgroupOp says what became of a control group.
type CgroupOp string

// What may become of a control group.
const (
	CgroupMkdir  CgroupOp = "mkdir"
	CgroupRmdir  CgroupOp = "rmdir"  // no task is in it any more; its sockets may live on
	CgroupAttach CgroupOp = "attach" // the process of the header moved into it
	CgroupExec   CgroupOp = "exec"   // the process of the header, which is in it, began to run a program
)

// Cgroup is a change of a control group: it was made, removed or entered; Header.Cgroup is its id. Of attach and exec only
// the first of a control group and network namespace is reported, and Header.Netns is the process's.
type Cgroup struct {
	Op        CgroupOp `json:"op"`
	Hierarchy uint16   `json:"hierarchy"` // 0 is cgroup2, others are version 1
	Path      string   `json:"path"`      // within its hierarchy: /kubepods/burstable/pod.../...; "" for exec
}

// Kind implements Body.
func (Cgroup) Kind() Kind { return KindCgroup }

// Summary implements Body.
func (c Cgroup) Summary() string { return strings.TrimSuffix(string(c.Op)+" "+c.Path, " ") }

func decodeCgroup(raw []byte, e *Event) error {
	var r wire.Cgroup
	r.Decode(raw)
	ops := [...]CgroupOp{wire.CgroupMkdir: CgroupMkdir, wire.CgroupRmdir: CgroupRmdir, wire.CgroupAttach: CgroupAttach, wire.CgroupExec: CgroupExec}
	var op CgroupOp
	if int(r.Op) < len(ops) {
		op = ops[r.Op]
	}
	if op == "" {
		op = CgroupOp(fmt.Sprintf("unknown(%#x)", r.Op))
	}
	e.Body = Cgroup{Op: op, Hierarchy: r.Hierarchy, Path: cString(r.Path[:min(int(r.PathLen), len(r.Path))])}
	return nil
}
