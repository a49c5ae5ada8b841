// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapng"
)

// Reader makes records of a capture file. It implements decoder.Frames.
type Reader struct {
	blocks    *pcapng.Reader
	options   ReaderOptions
	places    map[*pcapng.Interface]*source // of the section
	queue     [][]byte
	given     int           // of queue
	frame     []byte        // the record of the packet at hand
	wall      time.Duration // of the node, as its records say
	begun     bool          // the node was sent
	undecoded uint64
	spare     spares             // records that count if nothing more comes
	run       runJSON            // whose records come now
	runs      map[runJSON][]byte // the record of each run's Node
	runsRoom  bounded.Budget
	programs  programs
	packet    pcapng.Packet
	now       time.Duration // of the packet at hand, as records have it

	// Of what others wrote beside packets, what was sent already.
	node    event.Node
	emitted map[uint64]bool // pods and functions, by the number that records have for them
	devices map[place]string
	reasons map[string]uint32
}

// source is an interface of the file.
type source struct {
	place
	run     runJSON // that captured there
	path    bool    // its packets are records, which go beside them
	foreign bool    // ktrace did not write it
	named   bool    // its name was sent down the stream
	link    pcapng.LinkType
	header  link
	known   bool                // the header is
	program *pcapfilter.Program // nil passes all
}

// ReaderOptions say what becomes of the packets.
type ReaderOptions struct {
	Filter *pcapfilter.Expr // only packets that pass become records; nil passes all
	// Packets takes the packets alone, all of them. Otherwise what ktrace recorded of a packet's way is given back as
	// it was recorded, whether it passes the filter or not, and not as a packet too.
	Packets bool
}

// NewReader reads pcapng or pcap, plain or in gzip.
func NewReader(r io.Reader, o ReaderOptions) *Reader {
	return &Reader{
		blocks: pcapng.NewReader(r, pcapng.ReaderOptions{}), options: o, places: map[*pcapng.Interface]*source{},
		runs: map[runJSON][]byte{}, runsRoom: bounded.Budget{Most: maxRuns}, programs: programs{}, emitted: map[uint64]bool{}, devices: map[place]string{}, reasons: map[string]uint32{},
	}
}

// Undecoded is how many packets had a link header that ktrace does not know, or could not be decoded.
func (r *Reader) Undecoded() uint64 { return r.undecoded }

// Next implements decoder.Frames.
func (r *Reader) Next(ctx context.Context) ([]byte, error) {
	for r.given == len(r.queue) {
		r.queue, r.given = r.queue[:0], 0
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := r.blocks.Next()
		if spare := r.spare.records; err != nil && len(spare) > 0 {
			r.spare = spares{}
			for _, raw := range spare {
				r.one(raw)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := r.take(b); err != nil {
			return nil, err
		}
	}
	r.given++
	return r.queue[r.given-1], nil
}

// take queues the records of a block.
func (r *Reader) take(b pcapng.Block) error {
	switch {
	case b.Type == pcapng.BlockSection:
		clear(r.places) // none of them comes again
	case b.Type == pcapng.BlockCustom:
		if c, err := b.CustomBlock(); err == nil && c.Enterprise == pcapng.Enterprise {
			r.record(c.Data, true)
		}
	case b.Type == pcapng.BlockStatistics:
		if s, err := b.Statistics(); err == nil {
			r.of(s.Interface)
			r.records(s.Options)
		}
	case b.Type == pcapng.BlockNames:
		if o, err := b.NamesOptions(); err == nil {
			r.spares(o)
		}
	case b.IsPacket():
		if err := b.Packet(&r.packet); err != nil {
			r.undecoded++
			return nil
		}
		return r.takePacket(&r.packet)
	}
	return nil
}

func (r *Reader) records(o pcapng.Options) {
	for c := range o.Custom(pcapng.Enterprise) {
		r.record(c.Data, false)
	}
}

// record queues a record that is kept beside packets, or several in a block of their own, which is padded.
func (r *Reader) record(data []byte, several bool) {
	raw, ok := bytes.CutPrefix(data, []byte(recordPrefix))
	if !ok {
		return
	}
	raw, r.spare = bytes.Clone(raw), spares{}
	for {
		one, rest := event.CutRecord(raw)
		r.one(one)
		if raw = rest; !several || len(rest) < 4 { // padding
			return
		}
	}
}

func (r *Reader) one(raw []byte) {
	e, err := event.Decode(raw)
	if err != nil {
		r.queue = append(r.queue, raw) // for the stream to count
		return
	}
	f, fact := e.Body.(event.Fact)
	if fact && f.Node != nil {
		r.wall, r.begun = f.Node.Wall, true
		r.run = runJSON{f.Node.Name, f.Node.Wall}
		if r.runs[r.run] != nil || r.runsRoom.Take(len(raw)+len(r.run.Node)) {
			r.runs[r.run] = bytes.Clone(raw) // of a block, which may have much beside it
		}
	}
	if r.options.Packets && !fact {
		return
	}
	r.queue = append(r.queue, raw)
}

// of goes on with what the run recorded that captured at an interface, where a file has several.
func (r *Reader) of(i *pcapng.Interface) {
	if len(r.runs) < 2 {
		return
	}
	run := runJSON{}
	if s := r.places[i]; s != nil {
		run = s.run
	} else {
		run = about(i).runJSON
	}
	if raw := r.runs[run]; raw != nil && run != r.run {
		r.one(raw)
	}
}

// Bounds of what a hostile file can make a reader remember, in bytes.
const (
	maxRuns  = 1 << 20 // of the records of Nodes
	maxSpare = 16 << 20
)

// spares are records that count if nothing more comes.
type spares struct {
	records [][]byte
	size    int
}

// keep takes in a record, unless there are too many.
func (s *spares) keep(raw []byte) bool {
	if s.size += len(raw); s.size > maxSpare {
		return false
	}
	s.records = append(s.records, bytes.Clone(raw))
	return true
}

// programs are those of an expression, by the link type.
type programs map[pcapng.LinkType]*pcapfilter.Program

// about is what ktrace wrote of an interface.
func about(i *pcapng.Interface) (a interfaceJSON) {
	text, ok := i.Options.JSON()
	if !ok || json.Unmarshal(text, &a) != nil {
		return interfaceJSON{}
	}
	return a
}

// spares keeps records that are repeated if anything follows.
func (r *Reader) spares(o pcapng.Options) {
	if len(r.runs) > 1 { // a file that another program merged: whose they are shows nowhere
		return
	}
	for c := range o.Custom(pcapng.Enterprise) {
		if raw, ok := bytes.CutPrefix(c.Data, []byte(sparePrefix)); ok {
			r.spare.keep(raw)
		}
	}
}

func (r *Reader) takePacket(p *pcapng.Packet) error {
	r.of(p.Interface)
	r.records(p.Options)
	r.now = time.Duration(p.Time) - r.wall
	s, err := r.source(p.Interface)
	if err != nil || s.path && !r.options.Packets {
		return err
	}
	f, ok := s.frame(p)
	if !ok {
		r.undecoded++
		return nil
	}
	if s.program != nil && !s.program.Match(s.question(p)) {
		return nil
	}
	f.Time = r.now
	if s.foreign {
		return r.takeForeign(p, s, f)
	}
	r.queueFrame(f)
	return nil
}

func (r *Reader) queueFrame(f event.RawFrame) {
	r.frame = f.Append(r.frame[:0])
	r.queue = append(r.queue, r.frame)
}

// takeForeign queues a packet with what its writer said of it.
func (r *Reader) takeForeign(p *pcapng.Packet, s *source, f event.RawFrame) error {
	words := saidOf(p.Options)
	if words.place == nil && !s.named {
		s.named = true
		if err := r.emitDevice(place{ifindex: s.ifindex}, p.Interface.Name()); err != nil {
			return err
		}
	}
	if err := r.annotate(p, &f, &words); err != nil {
		return err
	}
	if !words.dropped || r.options.Packets {
		r.queueFrame(f)
		return nil
	}
	code, address, err := r.tellDrop(&words)
	if raw, ok := f.AppendDrop(nil, code, address); ok {
		r.queue = append(r.queue, raw)
	} else {
		r.queueFrame(f)
	}
	return err
}

// source returns what is known of an interface; the first time it emits the facts of it, too.
func (r *Reader) source(i *pcapng.Interface) (*source, error) {
	if s := r.places[i]; s != nil {
		return s, nil
	}
	if !r.begun {
		r.begun = true
		if err := r.emit(event.Fact{Node: &r.node}); err != nil {
			return nil, err
		}
	}
	s := &source{link: i.LinkType}
	s.header, s.known = links(i.LinkType)
	r.places[i] = s
	of := about(i)
	s.place, s.path, s.run = place{of.Netns, of.Ifindex}, of.Path, of.runJSON
	if s.place == (place{}) && !s.path {
		s.ifindex, s.foreign = uint32(i.ID)+1, true
	}
	if r.options.Filter != nil && s.path && !r.options.Packets {
		return s, r.options.Filter.NeedsLink() // which records do not have
	}
	return s, s.compile(r.options.Filter, r.programs)
}

// compile fits the expression to the link type.
func (s *source) compile(e *pcapfilter.Expr, compiled programs) (err error) {
	if e == nil || !s.known {
		return nil
	}
	if s.program = compiled[s.link]; s.program == nil {
		s.program, err = e.Compile(pcapfilter.LinkType(s.link))
		compiled[s.link] = s.program
	}
	return err
}

func (r *Reader) emit(f event.Fact) error {
	raw, err := event.EncodeFact(r.now, f)
	r.queue = append(r.queue, raw)
	return err
}

// question is what a filter looks at of a packet.
func (s *source) question(p *pcapng.Packet) pcapfilter.Packet {
	q := pcapfilter.Packet{Data: p.Data, Length: int(min(p.Length, math.MaxInt32)), Interface: s.ifindex}
	switch p.Flags().Direction() {
	case pcapng.FlagInbound:
		q.Direction = pcapfilter.Inbound
	case pcapng.FlagOutbound:
		q.Direction = pcapfilter.Outbound
	}
	return q
}

// frame makes of a packet what the tap would have made; false if its link header is not known.
func (s *source) frame(p *pcapng.Packet) (event.RawFrame, bool) {
	f := event.RawFrame{Netns: s.netns, Ifindex: s.ifindex, Length: p.Length, Data: p.Data}
	f.Ethernet = s.link == pcapng.LinkEthernet
	if !s.known || !f.Ethernet && !s.header.strip(&f) {
		return f, false
	}
	flags := p.Flags()
	switch flags.Direction() {
	case pcapng.FlagInbound:
		f.Direction = event.In
	case pcapng.FlagOutbound:
		f.Direction = event.Out
	}
	if flags&pcapng.FlagSegmentation != 0 {
		f.Segment = 1 // how large they were is not kept
	}
	return f, true
}
