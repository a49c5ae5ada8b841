// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/netlink"
)

// sizeofTcMsg is that of struct tcmsg.
const sizeofTcMsg = 20

// Qdiscs reads the queueing disciplines of a device and what they have counted.
func (o *Reader) Qdiscs(inode, ifindex uint32) []event.Fact {
	return o.in(inode, "qdisc", func(*netnsState) ([]event.Fact, error) { return qdiscs(inode, ifindex) })
}

// qdiscs is called in the namespace. The kernel gives those of all devices, or of one.
func qdiscs(inode, ifindex uint32) ([]event.Fact, error) {
	unplugged, err := noCarrier(ifindex)
	if err != nil {
		return nil, err
	}
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	request := make([]byte, sizeofTcMsg)
	binary.NativeEndian.PutUint32(request[4:], ifindex)
	var facts []event.Fact
	err = c.Ask(unix.RTM_GETQDISC, unix.NLM_F_DUMP, request, func(m netlink.Message) error {
		if q, ok := qdisc(inode, m.Payload); ok && q.Ifindex == ifindex {
			q.NoCarrier = unplugged
			facts = append(facts, event.Fact{Qdisc: &q})
		}
		return nil
	})
	if err != nil {
		return facts, fmt.Errorf("queues of device %d: %w", ifindex, err)
	}
	return facts, nil
}

// qdisc reads struct tcmsg and attributes.
func qdisc(inode uint32, b []byte) (event.Qdisc, bool) {
	const kind, stats2, basic, waiting, packets64 = 1, 7, 1, 3, 8 // TCA_KIND, TCA_STATS2, and within it TCA_STATS_...
	if len(b) < sizeofTcMsg {
		return event.Qdisc{}, false
	}
	q := event.Qdisc{Netns: inode, Ifindex: binary.NativeEndian.Uint32(b[4:]), Handle: binary.NativeEndian.Uint32(b[8:]), Parent: binary.NativeEndian.Uint32(b[12:])}
	all := netlink.AttrMap(b[sizeofTcMsg:])
	q.Kind = unix.ByteSliceToString(all[kind])
	stats := netlink.AttrMap(all[stats2])
	if s := stats[basic]; len(s) >= 12 { // struct gnet_stats_basic
		q.Bytes, q.Packets = binary.NativeEndian.Uint64(s), uint64(binary.NativeEndian.Uint32(s[8:]))
	}
	if s := stats[packets64]; len(s) >= 8 {
		q.Packets = binary.NativeEndian.Uint64(s)
	}
	if s := stats[waiting]; len(s) >= 20 { // struct gnet_stats_queue
		q.Backlog, q.Dropped, q.Overlimits = binary.NativeEndian.Uint32(s), uint64(binary.NativeEndian.Uint32(s[8:])), uint64(binary.NativeEndian.Uint32(s[16:]))
	}
	return q, true
}
