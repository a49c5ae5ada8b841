// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/netlink"
)

// routeQuery is a lookup in the routing tables (RTM_GETROUTE).
type routeQuery struct {
	dst, src netip.Addr // src may be zero
	in       uint32     // ingress device, 0 for packets of this namespace
	mark     uint32
}

// route looks up a route. That there is none is a result, in Errno.
func route(w routeQuery) (event.Route, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return event.Route{}, err
	}
	defer c.Close()
	r := event.Route{Dst: w.dst, Src: w.src}
	var out uint32
	err = c.Ask(unix.RTM_GETROUTE, 0, w.request(), func(m netlink.Message) error {
		if len(m.Payload) >= unix.SizeofRtMsg {
			out = answer(&r, m.Payload)
		}
		return nil
	})
	if errno := unix.Errno(0); errors.As(err, &errno) && noRoute(errno) {
		r.Errno, err = unix.ErrnoName(errno), nil
	}
	if err != nil {
		return r, fmt.Errorf("route to %s: %w", w.dst, err)
	}
	if out != 0 {
		r.Out, r.Link, err = link(c, out)
	}
	if w.in != 0 && err == nil {
		r.In, _, err = link(c, w.in)
	}
	return r, err
}

// noRoute reports whether an errno is a result of the lookup rather than its failure.
func noRoute(e unix.Errno) bool {
	return e == unix.ENETUNREACH || e == unix.EHOSTUNREACH || e == unix.EACCES || e == unix.EXDEV || e == unix.EINVAL
}

// request is struct rtmsg and attributes. RTM_F_LOOKUP_TABLE asks for the table that was really used; IPv6 always says
// it and does not take the flag.
func (w routeQuery) request() []byte {
	const lookupTable = 0x1000
	family, flags := byte(unix.AF_INET6), uint32(0)
	if w.dst.Is4() {
		family, flags = unix.AF_INET, lookupTable
	}
	b := []byte{family, byte(w.dst.BitLen()), 0, 0, 0, 0, 0, 0}
	if w.src.IsValid() {
		b[2] = byte(w.src.BitLen())
	}
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = netlink.AppendAttr(b, unix.RTA_DST, w.dst.AsSlice())
	if w.src.IsValid() {
		b = netlink.AppendAttr(b, unix.RTA_SRC, w.src.AsSlice())
	}
	if w.in != 0 {
		b = netlink.AppendUint32(b, unix.RTA_IIF, w.in)
	}
	if w.mark != 0 {
		b = netlink.AppendUint32(b, unix.RTA_MARK, w.mark)
	}
	return b
}

// answer reads struct rtmsg and attributes, and returns the number of the device.
func answer(r *event.Route, b []byte) (out uint32) {
	const tableAt, typeAt = 4, 7
	types := []string{"", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw"}
	if t := int(b[typeAt]); t < len(types) {
		r.Type = types[t]
	}
	r.Table = uint32(b[tableAt])
	for kind, value := range netlink.Attrs(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_TABLE:
			r.Table = netlink.Uint32(value)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(value)
		case unix.RTA_VIA: // a gateway of the other family
			if len(value) > 2 {
				r.Gateway, _ = netip.AddrFromSlice(value[2:])
			}
		case unix.RTA_PREFSRC:
			r.Prefsrc, _ = netip.AddrFromSlice(value)
		case unix.RTA_METRICS:
			r.MTU = netlink.Uint32(netlink.AttrMap(value)[unix.RTAX_MTU])
		case unix.RTA_OIF:
			out = netlink.Uint32(value)
		}
	}
	return out
}

// link returns a device's name and MTU.
func link(c *netlink.Conn, index uint32) (name string, mtu uint32, err error) {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], index)
	err = c.Ask(unix.RTM_GETLINK, 0, b, func(m netlink.Message) error {
		if len(m.Payload) < unix.SizeofIfInfomsg {
			return nil
		}
		a := netlink.AttrMap(m.Payload[unix.SizeofIfInfomsg:])
		name, mtu = unix.ByteSliceToString(a[unix.IFLA_IFNAME]), netlink.Uint32(a[unix.IFLA_MTU])
		return nil
	})
	if err != nil {
		return "", 0, fmt.Errorf("device %d: %w", index, err)
	}
	return name, mtu, nil
}

// deviceName is the name of a device, "" if it is gone.
func deviceName(index uint32) string {
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return ""
	}
	defer c.Close()
	name, _, _ := link(c, index)
	return name
}

// neighbour reads one line of the neighbour table (kernel 5.0, commit 82cbb5c631a0, "neighbour: register rtnl doit
// handler"); before, its state is "none".
func neighbour(inode uint32, index uint32, addr netip.Addr) (event.Neighbour, error) {
	n := event.Neighbour{Netns: inode, Addr: addr, State: "none"}
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return n, err
	}
	defer c.Close()
	if n.Iface, _, err = link(c, index); err != nil {
		return n, err
	}
	family := byte(unix.AF_INET6)
	if addr.Is4() {
		family = unix.AF_INET
	}
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = family
	binary.NativeEndian.PutUint32(b[4:], index)
	b = netlink.AppendAttr(b, unix.NDA_DST, addr.AsSlice())
	err = c.Ask(unix.RTM_GETNEIGH, 0, b, func(m netlink.Message) error {
		if len(m.Payload) >= unix.SizeofNdMsg {
			n.State = neighbourState(binary.NativeEndian.Uint16(m.Payload[8:]))
			if mac := netlink.AttrMap(m.Payload[unix.SizeofNdMsg:])[unix.NDA_LLADDR]; len(mac) == 6 {
				n.MAC = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
			}
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return n, err
}

func neighbourState(bits uint16) string {
	for i, name := range []string{"incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"} {
		if bits&(1<<i) != 0 {
			return name
		}
	}
	return "none"
}
