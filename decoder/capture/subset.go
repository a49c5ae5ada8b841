// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"errors"
	"fmt"
	"io"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapng"
)

// Subset goes over the packets of capture files, in order of time, at the speed of reading. What it copies, it copies
// byte for byte.
type Subset struct {
	Filter *pcapfilter.Expr // which packets; nil takes all
	Dedup  bool             // only the first of packets that are the same but for link header, TTL and checksum
	To     *pcapng.Writer   // nil only counts
	Limit  uint64           // packets; 0 is none
	Live   bool             // more may come at any time: each packet is handed on at once
	Cut    func(error)      // takes the error about a file that ends within a block; nil: that is an error
	Stats  Stats

	files    []*subsetFile
	seen     *sameness
	programs programs
}

// File is a file that is read, and what it is called.
type File struct {
	Name string
	io.Reader
}

// subsetFile is a file and its next packet.
type subsetFile struct {
	name    string
	number  int
	r       *pcapng.Reader
	packet  pcapng.Packet
	ended   bool
	sources map[*pcapng.Interface]*source // of the section
	last    *source
	of      *pcapng.Interface
	facts   []pcapng.Custom // of packets that were left out, for the next
	held    int             // bytes of facts
	node    []byte          // the record of whose they are
	spare   spares          // records that count if none comes any more
}

// Run goes over the files.
func (s *Subset) Run(files ...File) error {
	s.Stats, s.programs = newStats(), programs{}
	defer func() { s.Stats.close(len(files)) }()
	for i, f := range files {
		s.files = append(s.files, s.open(f, i))
	}
	if s.Dedup {
		s.seen = newSameness()
	}
	if s.To != nil && len(files) > 1 {
		var o pcapng.Options
		o.AddText(pcapng.SectionApplication, "ktrace")
		if err := s.To.WriteSection(o); err != nil {
			return err
		}
	}
	for _, f := range s.files {
		if err := s.advance(f); err != nil {
			return err
		}
	}
	for {
		f := s.oldest()
		if f == nil || s.Limit > 0 && s.Stats.Matched >= s.Limit {
			return s.finish()
		}
		if err := s.take(f); err != nil {
			return err
		}
		if err := s.advance(f); err != nil {
			return err
		}
	}
}

func (s *Subset) open(file File, number int) *subsetFile {
	f := &subsetFile{name: file.Name, number: number, sources: map[*pcapng.Interface]*source{}}
	f.r = pcapng.NewReader(file, pcapng.ReaderOptions{Passed: func(b pcapng.Block) { s.observe(f, b) }})
	return f
}

// observe takes note of a block that is no packet.
func (s *Subset) observe(f *subsetFile, b pcapng.Block) {
	if b.Type == pcapng.BlockSection {
		clear(f.sources)
	}
	s.Stats.block(b, f.r.Interfaces())
}

func (s *Subset) oldest() *subsetFile {
	var first *subsetFile
	for _, f := range s.files {
		if !f.ended && (first == nil || f.packet.Time < first.packet.Time) {
			first = f
		}
	}
	return first
}

// advance reads on to the next packet of a file; what is before it is copied.
func (s *Subset) advance(f *subsetFile) error {
	s.Stats.file = f.number
	for {
		if s.To == nil { // nothing but packets matters
			err := f.r.ReadPacket(&f.packet)
			switch {
			case err == nil:
				return nil
			case errors.Is(err, pcapng.ErrMalformed):
				s.Stats.Malformed++
				continue
			}
			return s.end(f, err)
		}
		b, err := f.r.Next()
		if err != nil {
			return s.end(f, err)
		}
		if b.IsPacket() {
			if b.Packet(&f.packet) == nil {
				return nil
			}
			s.Stats.Malformed++
			continue
		}
		s.observe(f, b)
		if err := s.pass(f, b); err != nil {
			return err
		}
	}
}

// end ends a file, or the run if that is not where it could have ended.
func (s *Subset) end(f *subsetFile, err error) error {
	f.ended = true
	switch {
	case errors.Is(err, pcapng.ErrCut) && s.Cut != nil:
		s.Cut(fmt.Errorf("%s: %w", f.name, err))
	case errors.Is(err, io.EOF):
	default:
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return s.writeSpares(f)
}

// take counts the packet of a file, and copies it if it is wanted.
func (s *Subset) take(f *subsetFile) error {
	p := &f.packet
	s.Stats.Read++
	s.Stats.dropped(p)
	wanted, err := s.wanted(f)
	if err != nil {
		return err
	}
	if s.To != nil && len(s.files) > 1 {
		f.learnNodes()
	}
	if !wanted {
		if s.To != nil {
			return s.keepFacts(f)
		}
		return nil
	}
	s.Stats.add(p)
	if s.To == nil {
		return nil
	}
	if err := s.copy(f); err != nil || !s.Live {
		return err
	}
	return s.To.Flush()
}

// copy writes the packet of a file, with what those that were left out said of the node.
func (s *Subset) copy(f *subsetFile) error {
	p := &f.packet
	if len(f.facts) == 0 {
		return s.To.WriteBlock(p.Block)
	}
	o := p.Options.Clone()
	for _, c := range f.facts {
		o.AddCustom(c)
	}
	f.facts, f.held = nil, 0
	p.Options = o
	return s.To.WritePacket(p)
}

func (s *Subset) wanted(f *subsetFile) (bool, error) {
	p := &f.packet
	if f.of != p.Interface {
		src := f.sources[p.Interface]
		if src == nil {
			src = &source{link: p.Interface.LinkType}
			src.header, src.known = links(src.link)
			src.ifindex = uint32(p.Interface.ID) + 1
			f.sources[p.Interface] = src
			if err := src.compile(s.Filter, s.programs); err != nil {
				return false, err
			}
		}
		f.of, f.last = p.Interface, src
	}
	switch {
	case s.Filter != nil && !f.last.known:
		s.Stats.Malformed++
		return false, nil
	case f.last.program != nil && !f.last.program.Match(f.last.question(p)):
		return false, nil
	case s.seen != nil && s.seen.again(f.last, p):
		s.Stats.Same++
		return false, nil
	}
	return true, nil
}

func (s *Subset) finish() error {
	if s.To == nil {
		return nil
	}
	for _, f := range s.files {
		if err := s.writeFacts(f); err != nil {
			return err
		}
	}
	return s.To.Flush()
}
