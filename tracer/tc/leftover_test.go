// SPDX-License-Identifier: Apache-2.0

package tc

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"ktrace/tracer/netlink"
	"ktrace/tracer/procfs"
)

// named is a program of a name that passes packets on, and closed at once, as by a process that is killed.
func named(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, next), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// add adds a filter to the pair's device as some process would, which then ends.
func (p pair) add(t *testing.T, program, filter string, handle uint32, preference uint16) {
	t.Helper()
	prog := named(t, program)
	defer prog.Close()
	err := p.handle.Do(func() error {
		rt, err := netlink.Dial(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		c := &clsact{rt: rt, ifindex: int32(p.device.Ifindex)}
		m := netlink.AppendAttr(c.bpfFilter(handle, parentIngress, preference), unix.TCA_OPTIONS, bpfOptions(prog, filter))
		return errors.Join(c.addQdisc(), c.change(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m), rt.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p pair) filters() string { return p.near.Run("tc", "filter", "show", "dev", "dev0", "ingress") }

// TestLeftFiltersOfOursAreRemovedAndNobodyElses: it takes the filter's name, its handle, the program's name, and that nobody holds the
// program.
func TestLeftFiltersOfOursAreRemovedAndNobodyElses(t *testing.T) {
	l := Leftovers{Node: procfs.New("/"), Programs: []string{"tap_in"}}
	const ours = ownHandles | 4711
	for _, tt := range []struct {
		name, program, filter string
		handle                uint32
		removed               int
	}{
		{"ours", "tap_in", filterName, ours, 1},
		{"ours with the qdisc", "tap_in", nameAndQdisc, ours, 1},
		{"an agent's", "cil_from_netdev", "cil_from_netdev", 1, 0},
		{"an agent's of our name", "cil_from_netdev", filterName, ours, 0},
		{"an agent's of our handle", "tap_in", "cil_from_netdev", ours, 0},
		{"an agent's of our names", "tap_in", filterName, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "veth", "veth0")
			p.add(t, "cil_to_netdev", "stranger", 1, 2) // beside it
			p.add(t, tt.program, tt.filter, tt.handle, 1)
			n, err := l.Sweep(p.handle)
			if left := p.filters(); err != nil || n != tt.removed || strings.Contains(left, tt.filter+" direct-action") == (tt.removed == 1) || !strings.Contains(left, "stranger") {
				t.Errorf("removed %d, %v; left:\n%s", n, err, left)
			}
		})
	}
}

// TestTheQdiscGoesWithTheLastFilterIfItWasMadeForIt: an agent may have made it, and add its filters later.
func TestTheQdiscGoesWithTheLastFilterIfItWasMadeForIt(t *testing.T) {
	l := Leftovers{Node: procfs.New("/"), Programs: []string{"tap_in"}}
	for name, goes := range map[string]bool{filterName: false, nameAndQdisc: true} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, "veth", "veth0")
			p.add(t, "tap_in", name, ownHandles|4711, 1)
			n, err := l.Sweep(p.handle)
			if left := p.near.Run("tc", "qdisc", "show", "dev", "dev0"); err != nil || n != 1 || strings.Contains(left, "clsact") == goes {
				t.Errorf("removed %d, %v; left:\n%s", n, err, left)
			}
		})
	}
}

// TestWhatAnotherKtraceHoldsStays, and what may be held where processes are not to be seen.
func TestWhatAnotherKtraceHoldsStays(t *testing.T) {
	p := newPair(t, "veth", "veth0")
	a := p.attach(t, Clsact, counter{Program: named(t, "tap_in")}, counter{})
	for _, node := range []*procfs.FS{procfs.New("/"), procfs.At(t.TempDir())} {
		l := Leftovers{Node: node, Programs: []string{"tap_in"}}
		if n, err := l.Sweep(p.handle); n != 0 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
	}
	closed(t, a)
}
