// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ktrace/decoder/event"
)

// Numbers of protocols.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// protoName is the name by which iptables and nft print a protocol, "" if they print the number.
func protoName(n uint8) string {
	switch n {
	case protoICMP:
		return "icmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoICMPv6:
		return "icmpv6"
	case protoSCTP:
		return "sctp"
	case 47:
		return "gre"
	case 50:
		return "esp"
	case 51:
		return "ah"
	case 136:
		return "udplite"
	}
	return ""
}

// Bits of the state of a connection, as ct state and --ctstate have them.
const (
	StateInvalid     = 1 << 0
	StateEstablished = 1 << 1
	StateRelated     = 1 << 2
	StateNew         = 1 << 3
	StateUntracked   = 1 << 6
)

// Packet is what is known of a packet at a hook. What is not known leaves a match undecided.
type Packet struct {
	Family     Family
	Hook       Hook
	Proto      uint8
	Src, Dst   netip.Addr
	Ports      bool // Sport and Dport are there
	Sport      uint16
	Dport      uint16
	Flags      uint8 // of TCP
	FlagsKnown bool
	ICMP       []byte // type and code, nil if not known
	Length     uint16 // 0 if not known
	TTL        uint8  // 0 if not known
	In, Out    string // "" if not known
	State      uint32 // of its connection: the bits that it may be, 0 if not known
}

// FromEvent makes a packet of what a probe saw. It returns false if there is none, or none of IP.
func FromEvent(e event.Event) (Packet, bool) {
	d := e.Packet
	if d == nil || !d.Src.IsValid() || !d.Dst.IsValid() {
		return Packet{}, false
	}
	p := Packet{Family: IPv4, Hook: NoHook, Src: d.Src.Unmap(), Dst: d.Dst.Unmap(), Sport: d.Sport, Dport: d.Dport, TTL: d.TTL,
		Proto: protoNumber(d.Proto)}
	if !p.Src.Is4() {
		p.Family = IPv6
	}
	if d.Len <= 0xffff {
		p.Length = uint16(d.Len)
	}
	p.Ports = p.Proto == protoTCP || p.Proto == protoUDP || p.Proto == protoSCTP
	if p.Proto == protoTCP {
		p.Flags, p.FlagsKnown = tcpFlags(d.Flags)
	}
	switch e.Direction {
	case event.In:
		p.In = e.Iface
	case event.Out:
		p.Out = e.Iface
	}
	p.ICMP = icmpOf(p, d.Bytes)
	if drop, ok := e.Body.(event.Drop); ok && drop.Conntrack != nil {
		p.State = stateOf(p.Proto, drop.Conntrack.Status)
	}
	return p, true
}

// stateOf is the state of the conntrack entry that the packet belongs to. Which of two directions it goes is not needed: the
// first packet back makes both established. An ICMP error belongs to the entry of what it is about: it cannot be decided.
func stateOf(proto uint8, status []string) uint32 {
	switch {
	case proto == protoICMP || proto == protoICMPv6:
		return 0
	case slices.Contains(status, "seen-reply"):
		return StateEstablished
	case slices.Contains(status, "expected"):
		return StateRelated
	}
	return StateNew
}

func protoNumber(name string) uint8 {
	if name == "ipv6-icmp" {
		return protoICMPv6
	}
	for n := range 256 {
		if name != "" && protoName(uint8(n)) == name {
			return uint8(n)
		}
	}
	n, _ := strconv.ParseUint(name, 10, 8)
	return uint8(n)
}

// tcpFlags reads flags as tcpdump writes them.
func tcpFlags(s string) (flags uint8, known bool) {
	for _, c := range s {
		i := strings.IndexRune("FSRP.UEW", c)
		if i < 0 {
			return flags, s == "none"
		}
		flags |= 1 << i
	}
	return flags, s != ""
}

// icmpOf finds type and code in the bytes from the network header on.
func icmpOf(p Packet, b []byte) []byte {
	at := 40
	if p.Family == IPv4 {
		if len(b) == 0 {
			return nil
		}
		at = int(b[0]&0xf) * 4
	}
	if (p.Proto != protoICMP && p.Proto != protoICMPv6) || len(b) < at+2 {
		return nil
	}
	return b[at : at+2]
}

// value returns a field of the packet. No says that this packet has no such field, Maybe that it is not known.
func (p *Packet) value(f Field) ([]byte, Fit) {
	switch f {
	case SrcAddr:
		return p.Src.AsSlice(), Yes
	case DstAddr:
		return p.Dst.AsSlice(), Yes
	case SrcPort:
		return p.port(p.Sport)
	case DstPort:
		return p.port(p.Dport)
	case Proto:
		return []byte{p.Proto}, Yes
	case NFProto:
		return []byte{byte(p.Family)}, Yes
	case EtherType:
		return binary.BigEndian.AppendUint16(nil, map[Family]uint16{IPv4: 0x0800, IPv6: 0x86dd}[p.Family]), Yes
	case InName:
		return p.device(p.In, p.Hook == Output || p.Hook == Postrouting)
	case OutName:
		return p.device(p.Out, p.Hook == Input || p.Hook == Prerouting)
	case TCPFlags:
		if p.Proto != protoTCP {
			return nil, No
		}
		return []byte{p.Flags}, known(p.FlagsKnown)
	case ICMPType, ICMPCode:
		return p.icmp(int(f - ICMPType))
	case CTState:
		return binary.BigEndian.AppendUint32(nil, p.State), known(p.State != 0)
	case Length:
		return binary.BigEndian.AppendUint16(nil, p.Length), known(p.Length != 0)
	case TTL:
		return []byte{p.TTL}, known(p.TTL != 0)
	}
	return nil, Maybe
}

func known(is bool) Fit {
	if is {
		return Yes
	}
	return Maybe
}

func (p *Packet) port(n uint16) ([]byte, Fit) {
	if !p.Ports {
		return nil, No
	}
	return binary.BigEndian.AppendUint16(nil, n), Yes
}

func (p *Packet) icmp(i int) ([]byte, Fit) {
	if p.Proto != protoICMP && p.Proto != protoICMPv6 {
		return nil, No
	}
	if len(p.ICMP) < 2 {
		return nil, Maybe
	}
	return p.ICMP[i : i+1], Yes
}

// device is the name in the 16 bytes that the kernel compares. Without a device the name is empty, except behind
// Postrouting: a forwarded packet still knows where it came in.
func (p *Packet) device(name string, none bool) ([]byte, Fit) {
	if name == "" && (!none || p.Hook == Postrouting) {
		return nil, Maybe
	}
	b := make([]byte, 16)
	if !none {
		copy(b, name)
	}
	return b, Yes
}
