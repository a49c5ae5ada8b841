// SPDX-License-Identifier: Apache-2.0

package tc

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"ktrace/tracer/netlink"
)

// sizeofTcmsg is struct tcmsg of linux/rtnetlink.h.
const sizeofTcmsg = 20

// listed is a filter as the kernel describes it.
type listed struct {
	ifindex    int32
	handle     uint32
	parent     uint32
	preference uint16
	program    uint32 // id; 0 if it is no BPF program
	name       string // that who added it gave to it
}

// parseListed reads a row of RTM_GETTFILTER; false if it is a preference without a filter.
func parseListed(m netlink.Message) (listed, bool) {
	d := m.Payload
	if m.Kind != unix.RTM_NEWTFILTER || len(d) < sizeofTcmsg {
		return listed{}, false
	}
	l := listed{
		ifindex:    int32(binary.NativeEndian.Uint32(d[4:])),
		handle:     binary.NativeEndian.Uint32(d[8:]),
		parent:     binary.NativeEndian.Uint32(d[12:]),
		preference: uint16(binary.NativeEndian.Uint32(d[16:]) >> 16),
	}
	options := netlink.AttrMap(netlink.AttrMap(d[sizeofTcmsg:])[unix.TCA_OPTIONS])
	l.program, l.name = netlink.Uint32(options[bpfID]), unix.ByteSliceToString(options[bpfName])
	return l, l.handle != 0
}
