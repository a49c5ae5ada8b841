// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/pod"
	"ktrace/decoder/stage"
)

// recordPrefix begins the data of a custom option, or block, that holds a record as the kernel sent it.
const recordPrefix = "ktrace1r"

// sparePrefix begins one that is written again, by recordPrefix, with the next packet: it counts if none comes, because
// who wrote the file was killed.
const sparePrefix = "ktrace1s"

// Options change what a Writer writes. The zero value is right for most.
type Options struct {
	Version string // of ktrace
	Comment string // of the section: the command line
	Snap    uint32 // bytes taken of a packet at most
	Filter  string // what packets had to match
	Mixed   bool   // also rows for events that are no packets, by a second link type: tcpdump refuses such files
	Whole   bool   // whole packets are captured: those on their way are no packets of their own, unless they die there
	Old     bool   // leave out what Wireshark 4.0's editcap corrupts: verdicts
}

// Writer writes records as an annotated capture. It implements decoder.Recorder. Begin a file first.
type Writer struct {
	options Options
	w       *pcapng.Writer
	node    event.Node
	index   *pod.Index
	stages  []stage.Stage
	devices map[place]event.Device

	note    string            // why files are written
	began   map[place]uint64  // losses of devices when the file began
	points  map[point]*target // of the file
	order   []*target
	facts   []*fact // that say how things are, for the next file
	current map[factKey]*fact
	netns   event.NetnsIDs

	netnsFacts int // of current

	pending  [][]byte // records that go with the next packet
	size     int      // of pending, bytes
	spared   int      // of pending, that are in the file in case no packet comes
	named    map[netip.Addr]string
	service  map[netip.Addr]string // whose address it is, for the next file
	names    []pcapng.Name         // that were not written yet
	notes    map[note]string
	lost     uint64 // as the devices reported it, for the next packet
	reported uint64 // of lost, those that were written
	events   *pcapng.Interface

	packet pcapng.Packet
	opts   pcapng.Options
	frame  []byte
	last   int64
	// Packets is how many were written, in all files.
	Packets uint64
}

// place is a device in a namespace; point is where a packet was seen, by the tap or on its way.
type place struct{ netns, ifindex uint32 }

type point struct {
	place
	path bool
}

// target is a point in the file.
type target struct {
	*pcapng.Interface
	point
	first, last int64
	packets     uint64
	before      uint64 // lost there, when the file began
	lost, noted uint64
}

// fact is one that says how things are.
type fact struct {
	uid string // of the pod that it is kept as long as; "" for ever
	raw []byte
}

// NewWriter returns a writer without a file.
func NewWriter(o Options) *Writer {
	return &Writer{
		options: o,
		index:   pod.NewIndex(),
		devices: map[place]event.Device{},
		named:   map[netip.Addr]string{},
		service: map[netip.Addr]string{},
		current: map[factKey]*fact{},
		netns:   event.NetnsIDs{},
		notes:   map[note]string{},
	}
}

// With adds the stages that name what packets are annotated with; pods are named anyway.
func (w *Writer) With(stages ...stage.Stage) *Writer {
	w.stages = stages
	return w
}

// Note says why the files are written that begin from now on.
func (w *Writer) Note(why string) { w.note = why }

// Begin starts a file. What the one before held is not there: names, devices and facts are written again.
func (w *Writer) Begin(dst io.Writer) error {
	w.w = pcapng.NewWriter(dst, pcapng.WriterOptions{})
	w.points, w.order, w.events = map[point]*target{}, nil, nil
	w.names, w.named = nil, map[netip.Addr]string{}
	w.pending, w.size, w.spared = nil, 0, 0
	w.began = map[place]uint64{}
	for p, d := range w.devices {
		w.began[p] = d.Lost
	}
	var o pcapng.Options
	o.AddText(pcapng.SectionHardware, w.node.Name)
	o.AddText(pcapng.SectionOS, "Linux "+w.node.Kernel)
	o.AddText(pcapng.SectionApplication, strings.TrimSpace("ktrace "+w.options.Version))
	if w.options.Comment != "" {
		o.AddComment(w.options.Comment)
	}
	if w.note != "" {
		o.AddComment(w.note)
	}
	about, err := json.Marshal(map[string]any{"schema": 1, "node": w.node.Name, "kernel": w.node.Kernel, "netns": w.node.Netns})
	if err != nil {
		return err
	}
	o.AddJSON(about)
	if err := w.w.WriteSection(o); err != nil {
		return err
	}
	for _, f := range w.facts {
		if err := w.hold(f.raw); err != nil {
			return err
		}
	}
	w.nameAll()
	return nil
}

// Wall is what turns the time since boot of the records into the time of day.
func (w *Writer) Wall() time.Duration { return w.node.Wall }

// Lost is how many packets the devices and the ring lost, as reported.
func (w *Writer) Lost() uint64 {
	var n uint64
	for _, d := range w.devices {
		n += d.Lost
	}
	return n
}

// Size is the length of the file so far.
func (w *Writer) Size() int64 {
	if w.w == nil {
		return 0
	}
	return w.w.Size()
}

// Flush hands over all that was written.
func (w *Writer) Flush() error {
	if w.w == nil {
		return nil
	}
	return w.w.Flush()
}

// RecordRaw is Record for what is not decoded yet: a packet at full speed, or a record that was kept in memory.
func (w *Writer) RecordRaw(raw []byte) error {
	if event.IsPacket(raw) {
		return w.Record(raw, event.Event{})
	}
	e, err := event.Decode(raw)
	if err != nil {
		return nil // the stream counts it
	}
	return w.Record(raw, e)
}

// Record implements decoder.Recorder.
func (w *Writer) Record(raw []byte, e event.Event) error {
	if event.IsPacket(raw) {
		f, err := event.DecodeFrame(raw)
		if err != nil {
			return nil // the stream counts it
		}
		return w.writeFrame(f)
	}
	e.Time = e.Time.Add(w.node.Wall)
	e.Node = w.node.Name
	if f, ok := e.Body.(event.Fact); ok {
		return w.takeFact(raw, e, f)
	}
	return w.writeEvent(raw, e)
}

// hold keeps a record for the next packet, but not for ever: where none comes, memory must not grow.
func (w *Writer) hold(raw []byte) error {
	w.pending = append(w.pending, raw)
	w.size += len(raw) + optionOverhead
	if w.size > maxPending {
		return w.writePending()
	}
	return nil
}

const (
	optionOverhead = 16        // code, length, enterprise, prefix
	maxOption      = 65000     // of the 65535 that an option's length can say
	maxHeld        = 100 << 10 // Wireshark takes 128 KiB of options
	maxPending     = 1 << 20
	maxCustom      = 200 << 10 // editcap takes blocks of 256 KiB
)

// attach adds what is held to options of a block. What is too much for them goes before it, in custom blocks: as few as
// can be, for tshark shows each as a row of its own.
func (w *Writer) attach(o *pcapng.Options) error {
	large := func(raw []byte) bool { return len(raw) > maxOption }
	if w.size > maxHeld || slices.ContainsFunc(w.pending, large) { // all: they stay in order
		return w.writePending()
	}
	for _, raw := range w.pending {
		o.AddCustom(pcapng.Custom{Enterprise: pcapng.Enterprise, Data: append([]byte(recordPrefix), raw...), Copy: true})
	}
	w.pending, w.size, w.spared = w.pending[:0], 0, 0
	return nil
}

// writePending writes what is held as blocks.
func (w *Writer) writePending() error {
	for rest := w.pending; len(rest) > 0; {
		data := append([]byte(recordPrefix), rest[0]...)
		for rest = rest[1:]; len(rest) > 0 && len(data)+len(rest[0]) <= maxCustom; rest = rest[1:] {
			data = append(data, rest[0]...)
		}
		if err := w.w.WriteCustom(pcapng.Custom{Enterprise: pcapng.Enterprise, Data: data, Copy: true}); err != nil {
			return err
		}
	}
	clear(w.pending)
	w.pending, w.size, w.spared = w.pending[:0], 0, 0
	return nil
}

// Save hands over all that was written, and what waits for the next packet: a file that ends here has all that came. Only
// before the first of whole packets nothing is to be lost: then what there is says only where they will come from.
func (w *Writer) Save() error {
	if w.w == nil || len(w.pending) == 0 || len(w.order) == 0 && w.options.Whole {
		return w.Flush()
	}
	if len(w.order) == 0 { // editcap takes no block before the first interface
		if _, err := w.at(point{path: true}, time.Unix(0, w.last)); err != nil {
			return err
		}
	}
	for w.spared < len(w.pending) {
		var o pcapng.Options
		size := 0
		for ; w.spared < len(w.pending); w.spared++ {
			raw := w.pending[w.spared]
			if len(raw) > maxOption {
				return w.writePending()
			}
			if size += len(raw); size > maxHeld {
				break
			}
			o.AddCustom(pcapng.Custom{Enterprise: pcapng.Enterprise, Data: append([]byte(sparePrefix), raw...), Copy: true})
		}
		if err := w.w.WriteNames(nil, o); err != nil { // as good a place as any that is no row among the packets
			return err
		}
	}
	return w.Flush()
}

// write writes w.packet with w.opts at a target.
func (w *Writer) write(t *target) error {
	if len(w.names) > 0 {
		if err := w.w.WriteNames(w.names, pcapng.Options{}); err != nil {
			return err
		}
		w.names = nil
	}
	if len(w.pending) > 0 {
		if err := w.attach(&w.opts); err != nil {
			return err
		}
	}
	if t.packets == 0 {
		t.first = w.packet.Time
	}
	t.packets++
	t.last = max(t.last, w.packet.Time)
	w.last = max(w.last, w.packet.Time)
	w.Packets++
	w.packet.Interface, w.packet.Options = t.Interface, w.opts
	return w.w.WritePacket(&w.packet)
}

// Close ends the file: what each interface counted, and with the first the records that no packet came for. editcap
// and mergecap leave those out; as blocks of their own they would be rows among the packets. dst stays open.
func (w *Writer) Close() error {
	if w.w == nil {
		return nil
	}
	if len(w.order) == 0 { // tcpdump takes no file without an interface
		if _, err := w.at(point{path: true}, time.Unix(0, w.last)); err != nil {
			return err
		}
	}
	for i, t := range w.order {
		s := pcapng.Statistics{Interface: t.Interface, Time: w.last}
		if err := w.count(&s, t, i == 0); err != nil {
			return err
		}
	}
	err := w.w.Flush()
	w.w = nil
	return err
}

// count fills in what an interface counted. Losses that belong to no device are the first one's, and said to be so.
func (w *Writer) count(s *pcapng.Statistics, t *target, first bool) error {
	lost := t.lost - t.before
	if t.path && first {
		lost = w.lost
		s.Options.AddComment("the counts of lost packets are of all interfaces together")
	}
	if t.packets > 0 {
		if err := s.AddWhen(pcapng.StatStart, t.first); err != nil {
			return err
		}
		if err := s.AddWhen(pcapng.StatEnd, t.last); err != nil {
			return err
		}
	}
	s.Options.AddUint64(pcapng.StatReceived, t.packets+lost)
	s.Options.AddUint64(pcapng.StatDropped, 0)
	s.Options.AddUint64(pcapng.StatAccepted, t.packets+lost)
	s.Options.AddUint64(pcapng.StatOSDropped, lost)
	s.Options.AddUint64(pcapng.StatDelivered, t.packets)
	if first {
		if err := w.attach(&s.Options); err != nil {
			return err
		}
	}
	return w.w.WriteStatistics(s)
}

// at returns the target of a point, which is new in the file the first time, and then named as at the time.
func (w *Writer) at(p point, when time.Time) (*target, error) {
	if t := w.points[p]; t != nil {
		return t, nil
	}
	name, description := w.describe(p, when)
	i := pcapng.NewInterface(name, description, pcapng.LinkEthernet, w.options.Snap)
	if w.options.Filter != "" {
		i.AddFilter(w.options.Filter)
	}
	d := w.devices[p.place]
	for _, a := range d.Addrs {
		i.AddAddress(a)
	}
	about, err := json.Marshal(interfaceJSON{Netns: p.netns, Ifindex: p.ifindex, Device: d.Name, Path: p.path, runJSON: runJSON{w.node.Name, w.node.Wall}})
	if err != nil {
		return nil, err
	}
	i.Options.AddJSON(about)
	before := w.began[p.place]
	t := &target{Interface: i, point: p, lost: d.Lost, before: before, noted: before}
	w.points[p] = t
	w.order = append(w.order, t)
	return t, w.w.AddInterface(i)
}

// interfaceJSON is what an interface is, for a Reader.
type interfaceJSON struct {
	Netns   uint32 `json:"netns"`
	Ifindex uint32 `json:"ifindex"`
	Device  string `json:"device,omitempty"`
	Path    bool   `json:"path,omitempty"` // packets of its are records; their link headers are made up
	runJSON
}

// runJSON is the run of ktrace that captured at an interface, as its Node says: files of several may be merged.
type runJSON struct {
	Node string        `json:"node,omitempty"`
	Wall time.Duration `json:"wall_ns,omitempty"`
}

// describe names a point as people know it: device@pod, or device@node.
func (w *Writer) describe(p point, when time.Time) (name, description string) {
	device := w.devices[p.place].Name
	if device == "" {
		device = fmt.Sprintf("device%d", p.ifindex)
	}
	where := fmt.Sprintf("netns%d", p.netns)
	owner := w.podAt(p.place, when)
	switch {
	case p.netns == w.node.Netns:
		where = w.node.Name
	case owner != "":
		where = owner
	case p.netns == 0:
		where = "nowhere"
	}
	description = fmt.Sprintf("%s, network namespace %d of node %s", device, p.netns, w.node.Name)
	if owner != "" {
		description += ", pod " + owner
	}
	if p.path {
		description += "; packets from their network header on, with link headers made up"
	}
	return device + "@" + where, description
}

// podAt is the pod whose device that is at the time, "" if none's.
func (w *Writer) podAt(p place, when time.Time) string {
	e := event.Event{Header: event.Header{Time: when, Netns: p.netns, Ifindex: p.ifindex}, Body: event.Hop{}}
	return w.index.Observe(e)[0].Pod.String()
}
