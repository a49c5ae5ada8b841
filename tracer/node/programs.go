// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/netlink"
)

// Programs reads which BPF programs and filters packets pass at a device.
func (o *Reader) Programs(inode, ifindex uint32) []event.Fact {
	return o.in(inode, "programs", func(*netnsState) ([]event.Fact, error) {
		var facts []event.Fact
		found := func(at string, id uint32, name string) {
			if ours(name) {
				return
			}
			facts = append(facts, event.Fact{Program: &event.Program{Netns: inode, Ifindex: ifindex, At: at, ID: id, Name: name}})
		}
		attached(ifindex, found)
		return facts, listed(ifindex, found)
	})
}

// attached finds programs that the kernel itself lists for a device. One without tcx (6.6) or netkit (6.7) lists none.
func attached(ifindex uint32, found func(at string, id uint32, name string)) {
	for at, kind := range map[string]ebpf.AttachType{
		"tcx/ingress": ebpf.AttachTCXIngress, "tcx/egress": ebpf.AttachTCXEgress,
		"netkit/primary": ebpf.AttachNetkitPrimary, "netkit/peer": ebpf.AttachNetkitPeer,
	} {
		result, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: int(ifindex), Attach: kind})
		if err != nil {
			continue
		}
		for _, p := range result.Programs {
			if name, ok := programName(p.ID); ok {
				found(at, uint32(p.ID), name)
			}
		}
	}
}

// programName is the name of a program, which it need not have; ok is false if it is gone: a tracer that has ended meanwhile.
func programName(id ebpf.ProgramID) (name string, ok bool) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", false
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", false
	}
	return info.Name, true
}

// listed finds XDP programs and the filters of clsact and ingress, which netlink lists.
func listed(ifindex uint32, found func(at string, id uint32, name string)) error {
	const xdp, xdpID = 43, 4 // IFLA_XDP, IFLA_XDP_PROG_ID
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.Close()
	ask := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(ask[4:], ifindex)
	err = c.Ask(unix.RTM_GETLINK, 0, ask, func(m netlink.Message) error {
		if len(m.Payload) >= unix.SizeofIfInfomsg {
			if id := netlink.Uint32(netlink.AttrMap(netlink.AttrMap(m.Payload[unix.SizeofIfInfomsg:])[xdp])[xdpID]); id != 0 {
				name, _ := programName(ebpf.ProgramID(id)) // it dropped, whether or not it is gone meanwhile
				found("xdp", id, name)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("programs at device %d: %w", ifindex, err)
	}
	for at, parent := range map[string]uint32{"clsact/ingress": 0xfffffff2, "clsact/egress": 0xfffffff3} {
		if err := filters(c, ifindex, parent, func(id uint32, name string) { found(at, id, name) }); err != nil {
			return err
		}
	}
	return nil
}

// filters lists those of one direction. Where there is no such qdisc there are none.
func filters(c *netlink.Conn, ifindex, parent uint32, found func(id uint32, name string)) error {
	const kind, options, bpfName, bpfID = 1, 2, 7, 11 // TCA_KIND, TCA_OPTIONS, TCA_BPF_NAME, TCA_BPF_ID
	ask := make([]byte, sizeofTcMsg)
	binary.NativeEndian.PutUint32(ask[4:], ifindex)
	binary.NativeEndian.PutUint32(ask[12:], parent)
	err := c.Ask(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, ask, func(m netlink.Message) error {
		if len(m.Payload) < sizeofTcMsg || binary.NativeEndian.Uint32(m.Payload[8:]) == 0 { // the chain, and not a filter of it
			return nil
		}
		all := netlink.AttrMap(m.Payload[sizeofTcMsg:])
		more := netlink.AttrMap(all[options])
		name := unix.ByteSliceToString(all[kind])
		if n := unix.ByteSliceToString(more[bpfName]); n != "" {
			name = n
		}
		found(netlink.Uint32(more[bpfID]), name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("filters at device %d: %w", ifindex, err)
	}
	return nil
}
