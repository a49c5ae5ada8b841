// SPDX-License-Identifier: Apache-2.0

package layers

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ip is an address of four or sixteen bytes.
func ip(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// hardware is a link-layer address.
func hardware(b []byte) string { return net.HardwareAddr(b).String() }

// printable is a name that comes from a packet, quoted where it holds what no name has.
func printable(name []byte) string {
	s := string(name)
	if quoted := strconv.QuoteToASCII(s); quoted != `"`+s+`"` || strings.Contains(s, " ") {
		return quoted
	}
	return s
}
