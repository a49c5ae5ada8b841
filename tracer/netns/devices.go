// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/netlink"
)

// Devices returns the network devices of the namespace with their addresses. Where the other end of a veth is, is
// known if it is in this namespace or one of the others.
func (h *Handle) Devices(others ...*Handle) ([]event.Device, error) {
	var devices []event.Device
	err := h.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer c.Close()
		peers := map[int32]uint32{here: h.Inode}
		for _, o := range others {
			id, err := nsID(c, o)
			if err != nil {
				return fmt.Errorf("namespace %d as seen from %d: %w", o.Inode, h.Inode, err)
			}
			if id >= 0 {
				peers[id] = o.Inode
			}
		}
		devices, err = read(c, h.Inode, peers)
		return err
	})
	return devices, err
}

// here stands for the id of the namespace itself, where the kernel gives none.
const here = -1

// read returns the devices of the connection's namespace.
func read(c *netlink.Conn, inode uint32, peers map[int32]uint32) ([]event.Device, error) {
	links, err := c.List(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg))
	if err != nil {
		return nil, fmt.Errorf("devices of namespace %d: %w", inode, err)
	}
	addrs, err := c.List(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, fmt.Errorf("addresses of namespace %d: %w", inode, err)
	}
	devices := make([]event.Device, 0, len(links))
	for _, m := range links {
		d, peer, ok := device(inode, m)
		if !ok {
			continue
		}
		if d.PeerIndex != 0 {
			d.PeerNetns = peers[peer]
			d.PeerMTU = mtuOf(c, d.PeerIndex, peer)
		}
		devices = append(devices, d)
	}
	for _, m := range addrs {
		index, prefix, ok := address(m)
		for i := range devices {
			if ok && devices[i].Ifindex == index {
				devices[i].Addrs = append(devices[i].Addrs, prefix)
			}
		}
	}
	return devices, nil
}

// device reads a link message (rtnetlink(7)), struct ifinfomsg, then attributes, and the id of the namespace that the
// other end of a veth is in.
func device(inode uint32, m netlink.Message) (d event.Device, peer int32, ok bool) {
	const indexOffset, flagsOffset = 4, 8
	if m.Kind != unix.RTM_NEWLINK || len(m.Payload) < unix.SizeofIfInfomsg {
		return d, here, false
	}
	d = event.Device{Netns: inode, Ifindex: binary.NativeEndian.Uint32(m.Payload[indexOffset:])}
	d.Down = binary.NativeEndian.Uint32(m.Payload[flagsOffset:])&unix.IFF_UP == 0
	peer = here
	for kind, value := range netlink.Attrs(m.Payload[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			d.Name = unix.ByteSliceToString(value)
		case unix.IFLA_MTU:
			d.MTU = int(netlink.Uint32(value))
		case unix.IFLA_ADDRESS:
			if len(value) == 6 { // of Ethernet
				d.MAC = net.HardwareAddr(value).String()
			}
		case unix.IFLA_LINK:
			d.PeerIndex = netlink.Uint32(value)
		case unix.IFLA_LINK_NETNSID:
			peer = int32(netlink.Uint32(value))
		case unix.IFLA_LINKINFO:
			d.Type = unix.ByteSliceToString(netlink.AttrMap(value)[unix.IFLA_INFO_KIND])
		}
	}
	if d.Type != "veth" {
		d.PeerIndex = 0 // of a vlan or a tunnel it is the device below
	}
	return d, peer, true
}

// mtuOf asks for the MTU of a device in the namespace that the connection's knows by that id (IFLA_TARGET_NETNSID,
// kernel 4.20, commit 19d8f1ad12fd, "if_link: add IFLA_TARGET_NETNSID alias"). It returns 0 if the kernel does not say.
func mtuOf(c *netlink.Conn, index uint32, id int32) (mtu int) {
	const iflaTargetNetnsID = 46
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], index)
	if id != here {
		b = netlink.AppendUint32(b, iflaTargetNetnsID, uint32(id))
	}
	err := c.Ask(unix.RTM_GETLINK, 0, b, func(m netlink.Message) error {
		if m.Kind == unix.RTM_NEWLINK && len(m.Payload) >= unix.SizeofIfInfomsg {
			mtu = int(netlink.Uint32(netlink.AttrMap(m.Payload[unix.SizeofIfInfomsg:])[unix.IFLA_MTU]))
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return mtu
}

// address reads an address message: struct ifaddrmsg, then attributes.
func address(m netlink.Message) (index uint32, p netip.Prefix, ok bool) {
	const lengthOffset, indexOffset = 1, 4
	if m.Kind != unix.RTM_NEWADDR || len(m.Payload) < unix.SizeofIfAddrmsg {
		return 0, p, false
	}
	attrs := netlink.AttrMap(m.Payload[unix.SizeofIfAddrmsg:])
	// IFA_LOCAL is the device's own; on a point-to-point link IFA_ADDRESS is the other end's. IPv6 has only the latter.
	own := attrs[unix.IFA_LOCAL]
	if own == nil {
		own = attrs[unix.IFA_ADDRESS]
	}
	addr, ok := netip.AddrFromSlice(own)
	return binary.NativeEndian.Uint32(m.Payload[indexOffset:]), netip.PrefixFrom(addr, int(m.Payload[lengthOffset])), ok
}

// nsID asks under which id the connection's namespace knows another; -1 if it never met it (RTM_GETNSID, kernel 4.0,
// commit 0c7aecd4bde4, "netns: add rtnl cmd to add and get peer netns ids").
func nsID(c *netlink.Conn, other *Handle) (id int32, err error) {
	const netnsaNSID, netnsaFD = 1, 3
	const header = 4 // struct rtgenmsg, padded
	id = -1
	err = c.Ask(unix.RTM_GETNSID, 0, netlink.AppendUint32(make([]byte, header), netnsaFD, uint32(other.file.Fd())), func(m netlink.Message) error {
		if m.Kind == unix.RTM_NEWNSID && len(m.Payload) >= header {
			if value, ok := netlink.AttrMap(m.Payload[header:])[netnsaNSID]; ok {
				id = int32(netlink.Uint32(value))
			}
		}
		return nil
	})
	if _, refused := err.(unix.Errno); refused { // by the kernel, which wraps nothing: it does not know the namespace
		return -1, nil
	}
	return id, err
}
