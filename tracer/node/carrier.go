// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ktrace/tracer/netlink"
)

// noCarrier reports whether a device of the thread's namespace is down or without carrier. Such a device drops all packets,
// whatever its qdisc, and has no neighbours.
func noCarrier(ifindex uint32) (down bool, err error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return false, err
	}
	defer c.Close()
	request := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(request[4:], ifindex)
	err = c.Ask(unix.RTM_GETLINK, 0, request, func(m netlink.Message) error {
		down = len(m.Payload) >= unix.SizeofIfInfomsg && binary.NativeEndian.Uint32(m.Payload[8:])&unix.IFF_LOWER_UP == 0
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("device %d: %w", ifindex, err)
	}
	return down, nil
}
