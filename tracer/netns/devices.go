package netns

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ktrace/decoder"
)

// Devices returns the network devices of the namespace with their addresses. Where the other end of a veth is, is
// known if it is in this namespace or one of the others.
func (s *Space) Devices(others ...*Space) ([]decoder.Device, error) {
	var devices []decoder.Device
	err := s.Do(func() error {
		peers := map[int32]uint32{here: s.Inode}
		for _, o := range others {
			id, err := nsID(o)
			if err != nil {
				return fmt.Errorf("namespace %d as seen from %d: %w", o.Inode, s.Inode, err)
			}
			if id >= 0 {
				peers[id] = o.Inode
			}
		}
		var err error
		devices, err = read(s.Inode, peers)
		return err
	})
	return devices, err
}

// here stands for the id of the namespace itself, where the kernel gives none.
const here = -1

// read returns the devices of the calling thread's namespace.
func read(inode uint32, peers map[int32]uint32) ([]decoder.Device, error) {
	links, err := dump(unix.RTM_GETLINK, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("devices of namespace %d: %w", inode, err)
	}
	addrs, err := dump(unix.RTM_GETADDR, unix.RTM_NEWADDR)
	if err != nil {
		return nil, fmt.Errorf("addresses of namespace %d: %w", inode, err)
	}
	devices := make([]decoder.Device, 0, len(links))
	for _, m := range links {
		if d, ok := device(inode, peers, m); ok {
			devices = append(devices, d)
		}
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

// dump asks the kernel for a table and returns its rows.
func dump(request int, row uint16) ([]syscall.NetlinkMessage, error) {
	raw, err := syscall.NetlinkRIB(request, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	all, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return nil, err
	}
	rows := all[:0]
	for _, m := range all {
		if m.Header.Type == row {
			rows = append(rows, m)
		}
	}
	return rows, nil
}

// device reads a link message (rtnetlink(7)): struct ifinfomsg, then attributes.
func device(inode uint32, peers map[int32]uint32, m syscall.NetlinkMessage) (decoder.Device, bool) {
	const indexOffset, flagsOffset = 4, 8
	if len(m.Data) < unix.SizeofIfInfomsg {
		return decoder.Device{}, false
	}
	d := decoder.Device{Netns: inode, Ifindex: binary.NativeEndian.Uint32(m.Data[indexOffset:])}
	d.Down = binary.NativeEndian.Uint32(m.Data[flagsOffset:])&unix.IFF_UP == 0
	var id int32 = here
	for kind, value := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			d.Name = text(value)
		case unix.IFLA_MTU:
			d.MTU = int(number(value))
		case unix.IFLA_ADDRESS:
			if len(value) == 6 { // of Ethernet
				d.MAC = net.HardwareAddr(value).String()
			}
		case unix.IFLA_LINK:
			d.PeerIndex = number(value)
		case unix.IFLA_LINK_NETNSID:
			id = int32(number(value))
		case unix.IFLA_LINKINFO:
			d.Type = text(attributes(value)[unix.IFLA_INFO_KIND])
		}
	}
	if d.Type != "veth" {
		d.PeerIndex = 0 // of a vlan or a tunnel it is the device below
	}
	if d.PeerIndex != 0 {
		d.PeerNetns = peers[id]
		d.PeerMTU = mtuOf(d.PeerIndex, id)
	}
	return d, true
}

// mtuOf asks for the MTU of a device in the namespace that the calling thread's knows by that id (IFLA_TARGET_NETNSID,
// kernel 4.20, commit 19d8f1ad12fd, "if_link: add IFLA_TARGET_NETNSID alias"). It returns 0 if that is not told.
func mtuOf(index uint32, id int32) int {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	const iflaTargetNetnsID = 46
	info := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(info[4:], index)
	if id != here {
		info = binary.NativeEndian.AppendUint16(info, unix.SizeofRtAttr+4)
		info = binary.NativeEndian.AppendUint16(info, iflaTargetNetnsID)
		info = binary.NativeEndian.AppendUint32(info, uint32(id))
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(info)))
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETLINK)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, unix.SizeofNlMsghdr-len(b))...)
	if err := unix.Sendto(fd, append(b, info...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0
	}
	answer := make([]byte, 16<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0
	}
	messages, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil || len(messages) == 0 || messages[0].Header.Type != unix.RTM_NEWLINK || len(messages[0].Data) < unix.SizeofIfInfomsg {
		return 0
	}
	return int(number(attributes(messages[0].Data[unix.SizeofIfInfomsg:])[unix.IFLA_MTU]))
}

// address reads an address message: struct ifaddrmsg, then attributes.
func address(m syscall.NetlinkMessage) (index uint32, p netip.Prefix, ok bool) {
	const lengthOffset, indexOffset = 1, 4
	if len(m.Data) < unix.SizeofIfAddrmsg {
		return 0, p, false
	}
	attrs := attributes(m.Data[unix.SizeofIfAddrmsg:])
	// IFA_LOCAL is the device's own; on a point-to-point link IFA_ADDRESS is the other end's. IPv6 has only the latter.
	own := attrs[unix.IFA_LOCAL]
	if own == nil {
		own = attrs[unix.IFA_ADDRESS]
	}
	addr, ok := netip.AddrFromSlice(own)
	return binary.NativeEndian.Uint32(m.Data[indexOffset:]), netip.PrefixFrom(addr, int(m.Data[lengthOffset])), ok
}

// attributes reads struct rtattr and what follows each; what does not fit ends the list.
func attributes(b []byte) map[uint16][]byte {
	const head = unix.SizeofRtAttr
	all := map[uint16][]byte{}
	for len(b) >= head {
		size := int(binary.NativeEndian.Uint16(b))
		if size < head || size > len(b) {
			break
		}
		all[binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)] = b[head:size]
		b = b[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
	}
	return all
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// nsID asks under which id the calling thread's namespace knows another; -1 if it never met it (RTM_GETNSID,
// kernel 4.0, commit 0c7aecd4bde4, "netns: add rtnl cmd to add and get peer netns ids").
func nsID(other *Space) (int32, error) {
	const netnsaNSID, netnsaFD = 1, 3
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	// struct nlmsghdr, struct rtgenmsg padded to 4 bytes, one attribute with the descriptor
	const size = unix.SizeofNlMsghdr + 4 + unix.SizeofRtAttr + 4
	b := binary.NativeEndian.AppendUint32(nil, size)
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETNSID)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, size-unix.SizeofRtAttr-4-len(b))...)
	b = binary.NativeEndian.AppendUint16(b, unix.SizeofRtAttr+4)
	b = binary.NativeEndian.AppendUint16(b, netnsaFD)
	b = binary.NativeEndian.AppendUint32(b, uint32(other.file.Fd()))
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, err
	}
	answer := make([]byte, 512)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return -1, err
	}
	messages, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil || len(messages) == 0 || messages[0].Header.Type != unix.RTM_NEWNSID || len(messages[0].Data) < 4 {
		return -1, err
	}
	id, ok := attributes(messages[0].Data[4:])[netnsaNSID]
	if !ok {
		return -1, nil
	}
	return int32(number(id)), nil
}
