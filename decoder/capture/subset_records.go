// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"slices"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
)

// pass copies a block that is no packet. Of several files all go into one section; a block of records, which names no
// interface, says whose they are.
func (s *Subset) pass(f *subsetFile, b pcapng.Block) error {
	if len(s.files) == 1 {
		return s.To.WriteBlock(b)
	}
	switch b.Type {
	case pcapng.BlockSection:
		return nil
	case pcapng.BlockCustom:
		c, err := b.CustomBlock()
		raw, ok := bytes.CutPrefix(c.Data, []byte(recordPrefix))
		if err != nil || c.Enterprise != pcapng.Enterprise || !ok {
			break
		}
		f.spare = spares{}
		f.learnNode(raw)
		return s.writeOf(f, raw)
	case pcapng.BlockStatistics:
		if o, err := b.Statistics(); err == nil && hasRecords(o.Options) {
			f.spare = spares{}
		}
	case pcapng.BlockNames:
		if o, err := b.NamesOptions(); err == nil && f.keepSpares(o) {
			return nil // at the end of its file is known whether they count
		}
	}
	return s.To.WriteBlock(b)
}

// writeOf writes records of a file as a block of their own, with whose they are.
func (s *Subset) writeOf(f *subsetFile, raw []byte) error {
	return s.To.WriteCustom(pcapng.Custom{Enterprise: pcapng.Enterprise, Data: slices.Concat([]byte(recordPrefix), f.node, raw), Copy: true})
}

// keepSpares takes what is written again if anything follows, and reports whether there is any.
func (f *subsetFile) keepSpares(o pcapng.Options) (any bool) {
	for c := range o.Custom(pcapng.Enterprise) {
		if raw, ok := bytes.CutPrefix(c.Data, []byte(sparePrefix)); ok && f.spare.keep(raw) {
			any = true
		}
	}
	return any
}

func hasRecords(o pcapng.Options) bool {
	for c := range o.Custom(pcapng.Enterprise) {
		if bytes.HasPrefix(c.Data, []byte(recordPrefix)) {
			return true
		}
	}
	return false
}

// writeSpares writes what no record followed in a file, which ends there.
func (s *Subset) writeSpares(f *subsetFile) error {
	for _, raw := range f.spare.records {
		f.learnNode(raw)
		if err := s.writeOf(f, raw); err != nil {
			return err
		}
	}
	f.spare = spares{}
	return nil
}

// learnNode keeps the record of the node, if it is among those in a block or option.
func (f *subsetFile) learnNode(raw []byte) {
	for len(raw) > 4 { // padding
		one, rest := event.CutRecord(raw)
		if e, err := event.Decode(one); err == nil {
			if fact, ok := e.Body.(event.Fact); ok && fact.Node != nil {
				f.node = bytes.Clone(one)
			}
		}
		raw = rest
	}
}

// learnNodes is learnNode for what a packet has beside it.
func (f *subsetFile) learnNodes() {
	for c := range f.packet.Options.Custom(pcapng.Enterprise) {
		raw, ok := bytes.CutPrefix(c.Data, []byte(recordPrefix))
		if !ok {
			continue
		}
		f.spare = spares{}
		if event.IsFact(raw) {
			f.learnNode(raw)
		}
	}
}

// maxFacts is how many bytes wait for the next packet: what a packet can have beside it is limited, and so is the memory.
const maxFacts = 1 << 20

// keepFacts takes what a packet that is left out says of the node: the conclusions rest on it.
func (s *Subset) keepFacts(f *subsetFile) error {
	for c := range f.packet.Options.Custom(pcapng.Enterprise) {
		if raw, ok := bytes.CutPrefix(c.Data, []byte(recordPrefix)); ok && event.IsFact(raw) {
			c.Data = bytes.Clone(c.Data)
			f.facts = append(f.facts, c)
			f.held += len(c.Data)
		}
	}
	if f.held > maxFacts {
		return s.writeFacts(f)
	}
	return nil
}

// writeFacts writes what waits for a packet without one.
func (s *Subset) writeFacts(f *subsetFile) error {
	for _, c := range f.facts {
		if err := s.writeOf(f, bytes.TrimPrefix(c.Data, []byte(recordPrefix))); err != nil {
			return err
		}
	}
	f.facts, f.held = nil, 0
	return nil
}
