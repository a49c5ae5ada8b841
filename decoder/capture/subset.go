package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/filter"
	"ktrace/decoder/pcapng"
)

// Subset goes over the packets of capture files, in order of time, at the speed of reading. What it copies, it copies
// byte for byte.
type Subset struct {
	Filter *filter.Expr   // which packets; nil takes all
	Dedup  bool           // only the first of packets that are the same but for link header, TTL and checksum
	To     *pcapng.Writer // nil only counts
	Limit  uint64         // packets; 0 is none
	Stats  Stats

	files []*subsetFile
	seen  *sameness
}

// Stats are what was found.
type Stats struct {
	Read, Matched  uint64 // packets
	Bytes          uint64 // of the matched ones, on the wire
	First, Last    int64  // of them, nanoseconds since 1970
	Malformed      uint64 // packets that could not be decoded, or with a link type that no filter knows
	Same           uint64 // packets that Dedup left out
	Disorder       uint64 // packets older than the one before
	Lost           uint64 // as the files tell
	Interfaces     []InterfaceStats
	interfaceIndex map[*pcapng.Interface]int
}

// InterfaceStats are those of one interface.
type InterfaceStats struct {
	Name    string
	Packets uint64
	Bytes   uint64
}

// subsetFile is a file and its next packet.
type subsetFile struct {
	r       *pcapng.Reader
	packet  pcapng.Packet
	ended   bool
	sources map[*pcapng.Interface]*source
	last    *source
	of      *pcapng.Interface
	facts   []pcapng.Custom // of packets that were left out, for the next
}

// Run goes over the files. The error names none of them.
func (s *Subset) Run(files ...io.Reader) error {
	for _, f := range files {
		s.files = append(s.files, &subsetFile{r: pcapng.NewReader(f, pcapng.ReaderOptions{}), sources: map[*pcapng.Interface]*source{}})
	}
	s.Stats.interfaceIndex = map[*pcapng.Interface]int{}
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
	for {
		if s.To == nil { // nothing but packets matters
			err := f.r.ReadPacket(&f.packet)
			switch {
			case errors.Is(err, io.EOF):
				f.ended = true
				return nil
			case errors.Is(err, pcapng.ErrMalformed):
				s.Stats.Malformed++
				continue
			}
			return err
		}
		b, err := f.r.Next()
		if errors.Is(err, io.EOF) {
			f.ended = true
			return nil
		}
		if err != nil {
			return err
		}
		if b.IsPacket() {
			if b.Packet(&f.packet) == nil {
				return nil
			}
			s.Stats.Malformed++
			continue
		}
		if b.Type == pcapng.BlockSection && len(s.files) > 1 {
			continue // all go into one
		}
		if err := s.To.WriteBlock(b); err != nil {
			return err
		}
	}
}

// take counts the packet of a file, and copies it if it is wanted.
func (s *Subset) take(f *subsetFile) error {
	p := &f.packet
	s.Stats.Read++
	if drops, ok := p.DropCount(); ok {
		s.Stats.Lost += drops
	}
	wanted, err := s.wanted(f)
	if err != nil {
		return err
	}
	if !wanted {
		if s.To != nil {
			f.keepFacts()
		}
		return nil
	}
	s.Stats.add(p)
	if s.To == nil {
		return nil
	}
	if len(f.facts) == 0 {
		return s.To.WriteBlock(p.Block)
	}
	o := p.Options.Clone()
	for _, c := range f.facts {
		o.AddCustom(c)
	}
	f.facts = nil
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
			if err := src.compile(s.Filter); err != nil {
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

// keepFacts takes what a packet that is left out says of the node: the conclusions rest on it.
func (f *subsetFile) keepFacts() {
	for c := range f.packet.Options.Custom(pcapng.Enterprise) {
		if raw, ok := bytes.CutPrefix(c.Data, []byte(recordPrefix)); ok && decoder.IsFact(raw) {
			c.Data = bytes.Clone(c.Data)
			f.facts = append(f.facts, c)
		}
	}
}

func (s *Subset) finish() error {
	if s.To == nil {
		return nil
	}
	for _, f := range s.files {
		for _, c := range f.facts {
			if err := s.To.WriteCustom(c); err != nil {
				return err
			}
		}
	}
	return s.To.Flush()
}

func (t *Stats) add(p *pcapng.Packet) {
	i, ok := t.interfaceIndex[p.Interface]
	if !ok {
		i = len(t.Interfaces)
		t.interfaceIndex[p.Interface] = i
		name := p.Interface.Name()
		if name == "" {
			name = fmt.Sprintf("interface %d", p.Interface.ID)
		}
		t.Interfaces = append(t.Interfaces, InterfaceStats{Name: name})
	}
	t.Interfaces[i].Packets++
	t.Interfaces[i].Bytes += uint64(p.Length)
	if t.Matched == 0 {
		t.First, t.Last = p.Time, p.Time
	}
	if p.Time < t.Last {
		t.Disorder++
	}
	t.Matched++
	t.Bytes += uint64(p.Length)
	t.First, t.Last = min(t.First, p.Time), max(t.Last, p.Time)
}

// Lines are the statistics for people.
func (t *Stats) Lines() []string {
	lines := []string{
		fmt.Sprintf("%d packets read, %d matched, %d bytes on the wire", t.Read, t.Matched, t.Bytes),
	}
	if t.Matched > 0 {
		first, last := time.Unix(0, t.First).UTC(), time.Unix(0, t.Last).UTC()
		lines = append(lines, fmt.Sprintf("from %s to %s, %.3f s", first.Format(decoder.NanosecondTime), last.Format(decoder.NanosecondTime), last.Sub(first).Seconds()))
	}
	for _, i := range t.Interfaces {
		lines = append(lines, fmt.Sprintf("%-40s %10d packets %14d bytes", i.Name, i.Packets, i.Bytes))
	}
	for _, n := range []struct {
		count uint64
		what  string
	}{{t.Lost, "lost while capturing"}, {t.Same, "left out as seen before"}, {t.Disorder, "older than the one before"}, {t.Malformed, "not understood"}} {
		if n.count > 0 {
			lines = append(lines, fmt.Sprintf("%d packets %s", n.count, n.what))
		}
	}
	return lines
}
