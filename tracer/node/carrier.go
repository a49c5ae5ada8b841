package node

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCarrier asks whether a device of the thread's namespace could not send a packet: it is down, or its other end is. Such a device
// has another queue than the kernel lists, which drops all, and no neighbours.
func noCarrier(ifindex uint32) (down bool, err error) {
	c, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return false, err
	}
	defer c.close()
	request := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(request[4:], ifindex)
	err = c.ask(unix.RTM_GETLINK, 0, request, func(m message) error {
		down = len(m.payload) >= unix.SizeofIfInfomsg && native.Uint32(m.payload[8:])&unix.IFF_LOWER_UP == 0
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("device %d: %w", ifindex, err)
	}
	return down, nil
}
