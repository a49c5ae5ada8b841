// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/binary"
	"net/netip"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/pcapng"
)

// note is what the comment of a packet depends on.
type note struct {
	place
	way      event.Direction
	src, dst netip.Addr
}

const maxNotes = 1 << 16 // then they are made anew: a scan has no end of addresses

// writeFrame writes a packet that was taken whole.
func (w *Writer) writeFrame(f event.RawFrame) error {
	t, err := w.at(point{place: place{f.Netns, f.Ifindex}}, time.Unix(0, int64(f.Time+w.node.Wall)))
	if err != nil {
		return err
	}
	w.opts.Reset()
	data, made := w.link(f)
	w.packet = pcapng.Packet{Time: int64(f.Time + w.node.Wall), Data: data, Length: f.Length + made}
	if comment := w.comment(f); comment != "" {
		w.opts.AddText(pcapng.OptComment, comment)
	}
	if flags := flagsOf(f); flags != 0 {
		w.opts.AddFlags(flags)
	}
	if t.lost > t.noted {
		w.opts.AddUint64(pcapng.PacketDropCount, t.lost-t.noted)
		t.noted = t.lost
	}
	if f.Queue != 0 {
		w.opts.AddUint32(pcapng.PacketQueue, f.Queue)
	}
	return w.write(t)
}

// link returns the frame as it was on the wire, and by how much it is longer than it was taken: a VLAN tag beside
// the bytes is put back, and what has no link header gets one.
func (w *Writer) link(f event.RawFrame) ([]byte, uint32) {
	const addresses = 12
	switch {
	case !f.Ethernet:
		w.frame = append(etherHeader(w.frame[:0], f.Protocol), f.Data...)
		return w.frame, etherSize
	case f.Tagged && len(f.Data) >= addresses:
		w.frame = append(w.frame[:0], f.Data[:addresses]...)
		w.frame = binary.BigEndian.AppendUint16(w.frame, f.VLANType)
		w.frame = binary.BigEndian.AppendUint16(w.frame, f.VLAN)
		w.frame = append(w.frame, f.Data[addresses:]...)
		return w.frame, 4
	}
	return f.Data, 0
}

const (
	etherSize = 14
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// etherHeader appends a link header without addresses, which distinguishes it from a real one.
func etherHeader(b []byte, protocol uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, make([]byte, 12)...), protocol)
}

// flagsOf are direction, reception and segmentation.
func flagsOf(f event.RawFrame) pcapng.Flags {
	reception := [...]pcapng.Flags{pcapng.FlagUnicast, pcapng.FlagBroadcast, pcapng.FlagMulticast, pcapng.FlagPromiscuous}
	var flags pcapng.Flags
	switch f.Direction {
	case event.In:
		flags = pcapng.FlagInbound
		if int(f.Type) < len(reception) {
			flags |= reception[f.Type]
		}
	case event.Out:
		flags = pcapng.FlagOutbound
	}
	if f.Segment != 0 {
		flags |= pcapng.FlagSegmentation
	}
	return flags
}

// comment names both ends of a packet, if they are anybody's. Packets of one flow have the same.
func (w *Writer) comment(f event.RawFrame) string {
	src, dst := ends(f)
	n := note{place{f.Netns, f.Ifindex}, f.Direction, src, dst}
	text, ok := w.notes[n]
	if ok {
		return text
	}
	if len(w.notes) >= maxNotes {
		clear(w.notes)
	}
	e := event.Event{
		Header: event.Header{Time: time.Unix(0, int64(f.Time+w.node.Wall)), Netns: f.Netns, Ifindex: f.Ifindex, Direction: f.Direction},
		Packet: &packet.Packet{Src: src, Dst: dst},
		Body:   event.Hop{},
	}
	e = w.index.Observe(e)[0]
	if fields := endFields(e); len(fields) > 0 {
		var o pcapng.Options
		o.AddComment("", fields...)
		text, _ = o.Text(pcapng.OptComment)
	}
	w.notes[n] = text
	return text
}

// endFields are the pods of an event, for a comment.
func endFields(e event.Event) []pcapng.Field {
	var fields []pcapng.Field
	if name := title(e.Pod); name != "" {
		fields = append(fields, pcapng.Field{Key: "pod", Value: name})
	}
	if name := title(e.Peer); name != "" {
		fields = append(fields, pcapng.Field{Key: "peer", Value: name})
	}
	return fields
}

// ends are the addresses of a frame, invalid of what is not IP.
func ends(f event.RawFrame) (src, dst netip.Addr) {
	b, protocol := f.Data, f.Protocol
	if f.Ethernet {
		if len(b) < etherSize {
			return
		}
		protocol = binary.BigEndian.Uint16(b[12:])
		b = b[etherSize:]
	}
	switch {
	case protocol == etherIPv4 && len(b) >= 20:
		return netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	case protocol == etherIPv6 && len(b) >= 40:
		return netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	}
	return
}
