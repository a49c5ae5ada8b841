// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"encoding/json"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/stage"
)

// writeEvent writes what the kernel's programs reported of a packet, where its bytes are known, and keeps the rest of the
// report for the next packet.
func (w *Writer) writeEvent(raw []byte, e event.Event) error {
	for _, s := range append([]stage.Stage{w.index}, w.stages...) {
		if all := s.Observe(e); len(all) == 1 {
			e = all[0]
		}
	}
	if _, hop := e.Body.(event.Hop); hop && w.options.Whole {
		return w.hold(bytes.Clone(raw))
	}
	if e.Packet == nil || len(e.Packet.Bytes) == 0 {
		if err := w.hold(bytes.Clone(raw)); err != nil || !w.options.Mixed || e.Packet != nil {
			return err
		}
		return w.writeRow(e)
	}
	t, err := w.at(point{place{e.Netns, e.Ifindex}, true}, e.Time)
	if err != nil {
		return err
	}
	if err := w.hold(bytes.Clone(raw)); err != nil {
		return err
	}
	w.opts.Reset()
	protocol := uint16(etherIPv4)
	if e.Packet.Family == "ipv6" {
		protocol = etherIPv6
	}
	w.frame = append(etherHeader(w.frame[:0], protocol), e.Packet.Bytes...)
	w.packet = pcapng.Packet{Time: e.Time.UnixNano(), Data: w.frame, Length: e.Packet.Len + etherSize}
	return w.annotate(t, e)
}

// annotate writes the packet with what is known of the event.
func (w *Writer) annotate(t *target, e event.Event) error {
	if headline, details := headline(e), details(e); headline != "" || len(details) > 0 { // editcap leaves out an empty one
		w.opts.AddComment(headline, details...)
	}
	if flags := flagsOf(event.RawFrame{Direction: e.Direction}); flags != 0 {
		w.opts.AddFlags(flags)
	}
	if e.Journey != 0 {
		w.opts.AddUint64(pcapng.PacketID, e.Journey)
	}
	if w.lost > w.reported {
		w.opts.AddUint64(pcapng.PacketDropCount, w.lost-w.reported)
		w.reported = w.lost
	}
	if _, dead := e.Body.(event.Drop); dead && !w.options.Old {
		w.opts.AddVerdict(pcapng.VerdictTC, pcapng.TCShot)
	}
	if e.PID != 0 {
		w.opts.AddProcess(e.PID, e.TID)
	}
	text, err := event.AppendJSON(nil, e)
	if err != nil {
		return err
	}
	if len(text) <= maxOption {
		w.opts.AddJSON(text)
	}
	return w.write(t)
}

// headline is what one would grep for.
func headline(e event.Event) string {
	if d, ok := e.Body.(event.Drop); ok {
		return "DROP " + d.Reason + " " + d.Location
	}
	return ""
}

func details(e event.Event) []pcapng.Field {
	fields := endFields(e)
	if e.PID != 0 {
		fields = append(fields, pcapng.Field{Key: "comm", Value: e.Comm})
	}
	if h, ok := e.Body.(event.Hop); ok && h.Conntrack != nil && (h.Conntrack.DNAT() || h.Conntrack.SNAT()) {
		fields = append(fields, pcapng.Field{Key: "nat", Value: h.Conntrack.Reply.Reverse().String()})
	}
	return fields
}

// writeRow writes what is no packet as a row of its own, which Wireshark dissects as JSON.
func (w *Writer) writeRow(e event.Event) error {
	if w.events == nil {
		w.events = pcapng.NewInterface("events@"+w.node.Name, "what is no packet", pcapng.LinkUpperPDU, w.options.Snap)
		about, err := json.Marshal(interfaceJSON{Path: true, runJSON: runJSON{w.node.Name, w.node.Wall}})
		if err != nil {
			return err
		}
		w.events.Options.AddJSON(about)
		if err := w.w.AddInterface(w.events); err != nil {
			return err
		}
	}
	text, err := event.AppendJSON(nil, e)
	if err != nil {
		return err
	}
	u := pcapng.UpperPDU{Dissector: "json", Protocol: "ktrace", Info: string(e.Body.Kind()) + " " + e.Body.Summary(), Payload: text}
	w.opts.Reset()
	w.frame = u.Append(w.frame[:0])
	w.packet = pcapng.Packet{Time: e.Time.UnixNano(), Data: w.frame}
	return w.write(&target{Interface: w.events})
}
