package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/filter"
	"ktrace/decoder/pcapng"
)

// Reader makes records of a capture file. It implements decoder.Frames.
type Reader struct {
	blocks  *pcapng.Reader
	filter  *filter.Expr
	places  map[*pcapng.Interface]*source
	queue   [][]byte
	wall    time.Duration // of the node, as its records say
	begun   bool          // the node was told
	strange uint64
}

// source is an interface of the file.
type source struct {
	place
	path    bool // its packets are records, which go beside them
	link    pcapng.LinkType
	header  link
	known   bool            // the header is
	program *filter.Program // nil passes all
}

// NewReader reads pcapng or pcap, plain or in gzip. Only packets that pass the expression become records, if there is
// one; what records of ktrace itself say of a packet's way is not filtered.
func NewReader(r io.Reader, e *filter.Expr) *Reader {
	return &Reader{blocks: pcapng.NewReader(r, pcapng.ReaderOptions{}), filter: e, places: map[*pcapng.Interface]*source{}}
}

// Strange is how many packets had a link header that ktrace does not know, or could not be decoded.
func (r *Reader) Strange() uint64 { return r.strange }

// Next implements decoder.Frames.
func (r *Reader) Next(ctx context.Context) ([]byte, error) {
	for len(r.queue) == 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := r.blocks.Next()
		if err != nil {
			return nil, err
		}
		if err := r.take(b); err != nil {
			return nil, err
		}
	}
	raw := r.queue[0]
	r.queue = r.queue[1:]
	return raw, nil
}

// take queues what a block tells.
func (r *Reader) take(b pcapng.Block) error {
	switch {
	case b.Type == pcapng.BlockCustom:
		if c, err := b.CustomBlock(); err == nil && c.Enterprise == pcapng.Enterprise {
			r.record(c.Data)
		}
	case b.Type == pcapng.BlockStatistics:
		if s, err := b.Statistics(); err == nil {
			r.records(s.Options)
		}
	case b.IsPacket():
		var p pcapng.Packet
		if err := b.Packet(&p); err != nil {
			r.strange++
			return nil
		}
		return r.packet(&p)
	}
	return nil
}

func (r *Reader) records(o pcapng.Options) {
	for c := range o.Custom(pcapng.Enterprise) {
		r.record(c.Data)
	}
}

// record queues a record that is kept beside packets. A custom block is padded: the record knows its own size.
func (r *Reader) record(data []byte) {
	raw, ok := bytes.CutPrefix(data, []byte(recordPrefix))
	if !ok {
		return
	}
	raw = bytes.Clone(raw)
	if e, err := decoder.Decode(raw); err == nil {
		if f, ok := e.Body.(decoder.Fact); ok && f.Node != nil {
			r.wall, r.begun = f.Node.Wall, true
		}
	}
	r.queue = append(r.queue, raw)
}

func (r *Reader) packet(p *pcapng.Packet) error {
	r.records(p.Options)
	s, err := r.source(p.Interface)
	if err != nil || s.path {
		return err
	}
	f, ok := s.frame(p)
	if !ok {
		r.strange++
		return nil
	}
	if s.program != nil && !s.program.Match(s.question(p)) {
		return nil
	}
	f.Time = time.Duration(p.Time) - r.wall
	r.queue = append(r.queue, f.Append(nil))
	return nil
}

// source returns what is known of an interface; the first time, others are told too.
func (r *Reader) source(i *pcapng.Interface) (*source, error) {
	if s := r.places[i]; s != nil {
		return s, nil
	}
	if !r.begun {
		r.begun = true
		if err := r.tell(decoder.Fact{Node: &decoder.Node{}}); err != nil {
			return nil, err
		}
	}
	s := &source{link: i.LinkType}
	s.header, s.known = links(i.LinkType)
	r.places[i] = s
	if text, ok := i.Options.JSON(); ok {
		var about interfaceJSON
		if json.Unmarshal(text, &about) == nil {
			s.place, s.path = place{about.Netns, about.Ifindex}, about.Path
		}
	}
	if s.place == (place{}) && !s.path {
		s.ifindex = uint32(i.ID) + 1
		if err := r.tell(decoder.Fact{Device: &decoder.Device{Ifindex: s.ifindex, Name: i.Name()}}); err != nil {
			return nil, err
		}
	}
	return s, s.compile(r.filter)
}

// compile fits the expression to the link type.
func (s *source) compile(e *filter.Expr) (err error) {
	if e != nil && s.known {
		s.program, err = e.Compile(filter.LinkType(s.link))
	}
	return err
}

func (r *Reader) tell(f decoder.Fact) error {
	raw, err := decoder.EncodeFact(0, f)
	r.queue = append(r.queue, raw)
	return err
}

// question is what a filter looks at of a packet.
func (s *source) question(p *pcapng.Packet) filter.Packet {
	q := filter.Packet{Data: p.Data, Length: int(min(p.Length, math.MaxInt32)), Interface: s.ifindex}
	switch p.Flags().Direction() {
	case pcapng.FlagInbound:
		q.Direction = filter.Inbound
	case pcapng.FlagOutbound:
		q.Direction = filter.Outbound
	}
	return q
}

// frame makes of a packet what the tap would have made; false if its link header is not known.
func (s *source) frame(p *pcapng.Packet) (decoder.RawFrame, bool) {
	f := decoder.RawFrame{Netns: s.netns, Ifindex: s.ifindex, Length: p.Length, Data: p.Data}
	f.Ethernet = s.link == pcapng.LinkEthernet
	if !s.known || !f.Ethernet && !s.header.strip(&f) {
		return f, false
	}
	flags := p.Flags()
	switch flags.Direction() {
	case pcapng.FlagInbound:
		f.Direction = decoder.In
	case pcapng.FlagOutbound:
		f.Direction = decoder.Out
	}
	if flags&pcapng.FlagSegmentation != 0 {
		f.Segment = 1 // how large they were is not kept
	}
	return f, true
}
