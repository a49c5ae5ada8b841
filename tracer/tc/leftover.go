// SPDX-License-Identifier: Apache-2.0

package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ktrace/tracer/netlink"
	"ktrace/tracer/netns"
	"ktrace/tracer/procfs"
)

// Leftovers are filters of a ktrace that was killed, which on kernels without tcx outlive it.
type Leftovers struct {
	Node     *procfs.FS // whose processes may hold programs open
	Programs []string   // names of the programs that ktrace attaches
}

// Sweep removes them from all devices of a network namespace, and with the last the qdisc, if ktrace made it. It returns how many it
// removed. A filter is taken for one of them if it has ktrace's name and a handle of ktrace's, runs a program of ktrace's name,
// and no process holds that program open, as each ktrace does that runs; where processes cannot be seen, it stays. It needs
// CAP_NET_ADMIN in the namespace, and CAP_SYS_ADMIN and CAP_SYS_PTRACE to tell them.
func (l Leftovers) Sweep(handle *netns.Handle) (removed int, err error) {
	err = handle.Do(func() error {
		rt, err := netlink.Dial(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		devices, err := clsactDevices(rt)
		errs := []error{err}
		for _, ifindex := range devices {
			n, err := l.sweep(&clsact{rt: rt, ifindex: ifindex})
			removed += n
			errs = append(errs, err)
		}
		return errors.Join(append(errs, rt.Close())...)
	})
	if err != nil {
		return removed, fmt.Errorf("filters of a ktrace that was killed, in network namespace %d: %w", handle.Inode, err)
	}
	return removed, nil
}

// clsactDevices are those with a clsact qdisc.
func clsactDevices(rt *netlink.Conn) ([]int32, error) {
	rows, err := rt.List(unix.RTM_GETQDISC, make([]byte, sizeofTcmsg))
	if err != nil {
		return nil, fmt.Errorf("list qdiscs: %w", err)
	}
	var all []int32
	for _, r := range rows {
		if r.Kind != unix.RTM_NEWQDISC || len(r.Payload) < sizeofTcmsg {
			continue
		}
		if kind := netlink.AttrMap(r.Payload[sizeofTcmsg:])[unix.TCA_KIND]; unix.ByteSliceToString(kind) == Clsact {
			all = append(all, int32(binary.NativeEndian.Uint32(r.Payload[4:])))
		}
	}
	return all, nil
}

// sweep removes them from one device.
func (l Leftovers) sweep(c *clsact) (removed int, err error) {
	for _, parent := range []uint32{parentIngress, parentEgress} {
		all, err := c.list(parent)
		if err != nil {
			return removed, err
		}
		for _, m := range all {
			if !l.has(m) {
				continue
			}
			if err := c.removeFilter(&filter{parent: parent, handle: m.handle, preference: m.preference}); err != nil {
				return removed, err
			}
			removed++
			c.added = c.added || m.name == nameAndQdisc
		}
	}
	return removed, c.removeQdisc()
}

// has reports whether a filter is one of them.
func (l Leftovers) has(m listed) bool {
	if m.name != filterName && m.name != nameAndQdisc || m.handle>>24 != ownHandles>>24 || m.program == 0 {
		return false
	}
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(m.program))
	if err != nil {
		return false // gone, or not ours to read
	}
	info, err := p.Info()
	ours := err == nil && info.Type == ebpf.SchedCLS && slices.Contains(l.Programs, info.Name)
	p.Close() // or we hold it open
	if !ours {
		return false
	}
	held, err := l.Node.HoldsProgram(m.program)
	return err == nil && !held
}
