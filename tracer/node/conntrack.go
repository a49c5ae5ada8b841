// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/tracer/netlink"
)

// Messages of conntrack (enum cntl_msg_types), with their subsystem.
const (
	ctnetlink     = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet         = ctnetlink | 1
	ctGetStatsCPU = ctnetlink | 4
	ctGetStats    = ctnetlink | 5
)

// conntrackStats reads the counters of the namespace that the thread is in.
func conntrackStats(inode uint32) (event.ConntrackStats, error) {
	s := event.ConntrackStats{Netns: inode}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return s, err
	}
	defer c.Close()
	// The files of /proc/sys say so too, at the cost of an inode each that is made for every namespace.
	err = c.Ask(ctGetStats, 0, nfgenmsg(unix.AF_UNSPEC), func(m netlink.Message) error {
		if len(m.Payload) >= 4 {
			const entries, most = 1, 2 // enum ctattr_stats_global; most since kernel 4.18
			a := netlink.AttrMap(m.Payload[4:])
			s.Count, s.Max = uint64(netlink.NetUint32(a[entries])), uint64(netlink.NetUint32(a[most]))
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("conntrack statistics: %w", err)
	}
	err = c.Ask(ctGetStatsCPU, unix.NLM_F_DUMP, nfgenmsg(unix.AF_UNSPEC), func(m netlink.Message) error {
		if len(m.Payload) >= 4 {
			addStats(&s.Total, m.Payload[4:])
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("conntrack statistics: %w", err)
	}
	return s, nil
}

// addStats adds the counters of one CPU (enum ctattr_stats_cpu).
func addStats(total *event.ConntrackCounters, b []byte) {
	fields := map[uint16]*uint64{2: &total.Found, 4: &total.Invalid, 8: &total.Insert, 9: &total.InsertFailed, 10: &total.Drop,
		11: &total.EarlyDrop, 12: &total.Error, 13: &total.SearchRestart, 14: &total.ClashResolve, 15: &total.ChainTooLong}
	for kind, value := range netlink.Attrs(b) {
		if f := fields[kind]; f != nil {
			*f += uint64(netlink.NetUint32(value))
		}
	}
}

// Attributes of a conntrack entry (enum ctattr_type and its like).
const (
	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoInfo, ctaTimeout, ctaMark = 1, 2, 3, 4, 7, 8
	ctaTupleIP, ctaTupleProto                                                 = 1, 2
	ctaProtoNum, ctaProtoSrc, ctaProtoDst                                     = 1, 2, 3
)

// tracked looks for the entry of a flow, given in either direction.
func tracked(inode uint32, proto string, asked packet.FlowTuple) (event.Tracked, error) {
	t := event.Tracked{Netns: inode, Proto: proto, Asked: asked}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return t, err
	}
	defer c.Close()
	family := byte(unix.AF_INET6)
	if asked.Src.Addr().Is4() {
		family = unix.AF_INET
	}
	body := netlink.AppendNested(nfgenmsg(family), ctaTupleOrig, tuple(protoNumber(proto), asked))
	err = c.Ask(ctGet, 0, body, func(m netlink.Message) error {
		if len(m.Payload) >= 4 {
			t.Found = true
			entry(&t, m.Payload[4:])
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return t, err
}

func protoNumber(name string) byte {
	switch name {
	case "tcp":
		return unix.IPPROTO_TCP
	case "udp":
		return unix.IPPROTO_UDP
	case "sctp":
		return unix.IPPROTO_SCTP
	}
	return 0
}

func tuple(proto byte, f packet.FlowTuple) []byte {
	src, dst := f.Src.Addr().AsSlice(), f.Dst.Addr().AsSlice()
	first := uint16(1) // CTA_IP_V4_SRC, _DST
	if len(src) == 16 {
		first = 3 // CTA_IP_V6_SRC, _DST
	}
	b := netlink.AppendNested(nil, ctaTupleIP, netlink.AppendAttr(netlink.AppendAttr(nil, first, src), first+1, dst))
	p := netlink.AppendAttr(nil, ctaProtoNum, []byte{proto})
	p = netlink.AppendAttr(p, ctaProtoSrc, binary.BigEndian.AppendUint16(nil, f.Src.Port()))
	p = netlink.AppendAttr(p, ctaProtoDst, binary.BigEndian.AppendUint16(nil, f.Dst.Port()))
	return netlink.AppendNested(b, ctaTupleProto, p)
}

// entry reads what the kernel says of one.
func entry(t *event.Tracked, b []byte) {
	a := netlink.AttrMap(b)
	t.Original, t.Reply = flow(a[ctaTupleOrig]), flow(a[ctaTupleReply])
	status := netlink.NetUint32(a[ctaStatus])
	for i, name := range []string{"expected", "seen-reply", "assured", "confirmed", "src-nat", "dst-nat", "seq-adjust", "src-nat-done",
		"dst-nat-done", "dying", "fixed-timeout", "template", "untracked", "helper", "offload", "hw-offload"} {
		if status&(1<<i) != 0 {
			t.Status = append(t.Status, name)
		}
	}
	t.Timeout = time.Duration(netlink.NetUint32(a[ctaTimeout])) * time.Second
	t.Mark = netlink.NetUint32(a[ctaMark])
	const protoinfoTCP, tcpState = 1, 1
	if state := netlink.AttrMap(netlink.AttrMap(a[ctaProtoInfo])[protoinfoTCP])[tcpState]; len(state) == 1 {
		names := []string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}
		if int(state[0]) < len(names) {
			t.State = names[state[0]]
		}
	}
}

func flow(b []byte) packet.FlowTuple {
	a := netlink.AttrMap(b)
	ip, proto := netlink.AttrMap(a[ctaTupleIP]), netlink.AttrMap(a[ctaTupleProto])
	src, ok := netip.AddrFromSlice(ip[1])
	dst, _ := netip.AddrFromSlice(ip[2])
	if !ok {
		src, _ = netip.AddrFromSlice(ip[3])
		dst, _ = netip.AddrFromSlice(ip[4])
	}
	return packet.FlowTuple{Src: netip.AddrPortFrom(src, netlink.NetUint16(proto[ctaProtoSrc])), Dst: netip.AddrPortFrom(dst, netlink.NetUint16(proto[ctaProtoDst]))}
}
