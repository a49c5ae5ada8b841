// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/pcapng"
)

// Stats are what was found in capture files: counts of packets and of bytes on the wire are of those that matched.
type Stats struct {
	Read       uint64 `json:"read"`            // packets
	Matched    uint64 `json:"matched"`         // of them
	Bytes      uint64 `json:"bytes"`           // of the matched ones, on the wire
	First      int64  `json:"-"`               // when the first of them came, nanoseconds since 1970
	Last       int64  `json:"-"`               // the last
	Same       uint64 `json:"same,omitempty"`  // packets that Dedup left out
	Disorder   uint64 `json:"disorder"`        // packets older than the one before
	Malformed  uint64 `json:"malformed"`       // that could not be decoded, or with a link type that no filter knows
	Lost       uint64 `json:"lost"`            // while capturing, as far as the files report it
	Unreported bool   `json:"losses_not_told"` // of some interface the files do not report its losses

	Sections   []SectionStats    `json:"sections"`
	Interfaces []*InterfaceStats `json:"interfaces"`
	Pods       []PodStats        `json:"pods,omitempty"`     // and services, at either end
	Verdicts   map[string]uint64 `json:"verdicts,omitempty"` // packets by what became of them: passed, drop REASON
	Names      []NameStats       `json:"names,omitempty"`    // of addresses, as the files have them

	LeftOut uint64 `json:"left_out,omitempty"` // how often a section, interface, pod, verdict or name was one too many to be listed

	file       int                                           // that is read
	interfaces map[int]map[*pcapng.Interface]*InterfaceStats // of each file's section
	others     *InterfaceStats                               // all that have no room of their own
	pods       map[string]*PodStats
	comments   map[string]remark
	remarks    int // bytes of comments
	names      map[NameStats]bool
	budget     bounded.Budget
}

// SectionStats say who captured.
type SectionStats struct {
	Application string `json:"application,omitempty"`
	OS          string `json:"os,omitempty"`
	Hardware    string `json:"hardware,omitempty"` // for ktrace the node
}

// InterfaceStats are those of one interface.
type InterfaceStats struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	LinkType    pcapng.LinkType `json:"link_type"`
	SnapLen     uint32          `json:"snap_length"`
	Filter      string          `json:"filter,omitempty"`
	Packets     uint64          `json:"packets"`
	Bytes       uint64          `json:"bytes"`
	Between     uint64          `json:"lost_between"`      // packets, as those that followed report
	Counted     *Counted        `json:"counted,omitempty"` // what the interface counted, nil if the file does not report it
	reported    bool            // the file reports its losses
	file        int             // that it is of
}

// Counted is what an interface says that it counted, to the end of the capture.
type Counted struct {
	Received  *uint64 `json:"received,omitempty"`
	Dropped   *uint64 `json:"dropped,omitempty"`
	Accepted  *uint64 `json:"accepted,omitempty"`
	OSDropped *uint64 `json:"os_dropped,omitempty"`
	Delivered *uint64 `json:"delivered,omitempty"`
}

// PodStats are the packets of one pod or service.
type PodStats struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// NameStats is a name of an address.
type NameStats struct {
	Address netip.Addr `json:"address"`
	Name    string     `json:"name"`
}

// remark is what a comment says: whose the packet is, and why it was dropped.
type remark struct {
	pods []*PodStats
	drop string
}

// Bounds of what a hostile file can make the statistics remember, in bytes.
const (
	maxStats    = 32 << 20 // of all that they list
	maxComments = 8 << 20
	maxComment  = 4 << 10 // a longer one is read each time
	statsEntry  = 256     // about what a thing that is listed takes beside its names
)

func newStats() Stats {
	return Stats{
		Verdicts: map[string]uint64{}, interfaces: map[int]map[*pcapng.Interface]*InterfaceStats{}, pods: map[string]*PodStats{},
		comments: map[string]remark{}, names: map[NameStats]bool{}, budget: bounded.Budget{Most: maxStats},
	}
}

// room reports whether one more thing with such names can be listed.
func (t *Stats) room(names ...string) bool {
	size := statsEntry
	for _, name := range names {
		size += len(name)
	}
	return t.budget.Take(size)
}

// of returns the statistics of an interface.
func (t *Stats) of(i *pcapng.Interface) *InterfaceStats {
	s := t.interfaces[t.file][i]
	if s != nil {
		return s
	}
	s = &InterfaceStats{Name: i.Name(), Description: i.Description(), LinkType: i.LinkType, SnapLen: i.SnapLen, Filter: i.Filter(), file: t.file}
	if s.Name == "" {
		s.Name = fmt.Sprintf("interface %d", i.ID)
	}
	if t.room(s.Name, s.Description, s.Filter) {
		t.Interfaces = append(t.Interfaces, s)
	} else {
		s = t.rest()
	}
	if t.interfaces[t.file] == nil {
		t.interfaces[t.file] = map[*pcapng.Interface]*InterfaceStats{}
	}
	t.interfaces[t.file][i] = s
	return s
}

// rest are the statistics of all interfaces that have no room of their own. What these count at the end cannot be summed up.
func (t *Stats) rest() *InterfaceStats {
	if t.others == nil {
		t.others = &InterfaceStats{Name: "other interfaces", file: t.file}
		t.Interfaces = append(t.Interfaces, t.others)
	}
	return t.others
}

// block takes in what is no packet; in are the interfaces of the section so far.
func (t *Stats) block(b pcapng.Block, in []*pcapng.Interface) {
	switch b.Type {
	case pcapng.BlockSection:
		delete(t.interfaces, t.file) // which count from 0 again
		if s, err := b.Section(); err == nil {
			t.section(s)
		}
	case pcapng.BlockInterface:
		if len(in) > 0 {
			t.of(in[len(in)-1])
		}
	case pcapng.BlockStatistics:
		if s, err := b.Statistics(); err == nil {
			if of := t.of(s.Interface); of != t.others {
				of.count(s.Options)
			}
		}
	case pcapng.BlockNames:
		if all, err := b.Names(); err == nil {
			for n := range all {
				t.name(NameStats{n.Address, n.Name})
			}
		}
	}
}

func (t *Stats) section(s pcapng.Section) {
	var of SectionStats
	of.Application, _ = s.Options.Text(pcapng.SectionApplication)
	of.OS, _ = s.Options.Text(pcapng.SectionOS)
	of.Hardware, _ = s.Options.Text(pcapng.SectionHardware)
	if t.room(of.Application, of.OS, of.Hardware) {
		t.Sections = append(t.Sections, of)
	}
}

// count takes in a statistics block: each replaces the one before.
func (s *InterfaceStats) count(o pcapng.Options) {
	number := func(code pcapng.OptionCode) *uint64 {
		if n, ok := o.Uint64(code); ok {
			return &n
		}
		return nil
	}
	s.Counted = &Counted{
		number(pcapng.StatReceived), number(pcapng.StatDropped), number(pcapng.StatAccepted), number(pcapng.StatOSDropped),
		number(pcapng.StatDelivered),
	}
	s.reported = s.reported || s.Counted.Dropped != nil || s.Counted.OSDropped != nil
}

// lost is what the interface says at the end that it lost.
func (c *Counted) lost() uint64 {
	var n uint64
	if c == nil {
		return n
	}
	for _, lost := range []*uint64{c.Dropped, c.OSDropped} {
		if lost != nil {
			n += *lost
		}
	}
	return n
}

// lost is what was lost in a file. The total at its end includes what packets reported between, maybe of one interface for
// all; after a crash it is missing.
func (t *Stats) lost(file int) uint64 {
	var counted, between uint64
	for _, i := range t.Interfaces {
		if i.file == file {
			counted += i.Counted.lost()
			between += i.Between
		}
	}
	return max(counted, between)
}

func (t *Stats) name(n NameStats) {
	if !t.names[n] && t.room(n.Name) {
		t.names[n] = true
		t.Names = append(t.Names, n)
	}
}

// dropped takes in how many were lost before a packet, whether that is wanted or not.
func (t *Stats) dropped(p *pcapng.Packet) {
	if n, ok := p.DropCount(); ok {
		s := t.of(p.Interface)
		s.reported = s != t.others
		s.Between += n
	}
}

// add counts a packet that is wanted.
func (t *Stats) add(p *pcapng.Packet) {
	size := uint64(p.Length)
	i := t.of(p.Interface)
	i.Packets++
	i.Bytes += size
	if t.Matched == 0 {
		t.First, t.Last = p.Time, p.Time
	}
	if p.Time < t.Last {
		t.Disorder++
	}
	t.Matched++
	t.Bytes += size
	t.First, t.Last = min(t.First, p.Time), max(t.Last, p.Time)
	if p.Options.Empty() {
		return
	}
	verdict := ""
	for v := range p.Verdicts() {
		verdict = "passed"
		if v.Kind == pcapng.VerdictTC && v.Value == pcapng.TCShot || v.Kind == pcapng.VerdictXDP && v.Value == pcapng.XDPDrop {
			verdict = "drop"
		}
	}
	for opt := range p.Options.All() {
		if c, ok := opt.Custom(); ok && c.Enterprise == retisEnterprise {
			var event said
			if event.retis(c.Data) && event.dropped {
				verdict = "drop " + event.reason
			}
		}
		if opt.Code != pcapng.OptComment {
			continue
		}
		r := t.remark(opt.Value)
		for _, pod := range r.pods {
			pod.Packets++
			pod.Bytes += size
		}
		verdict = cmp.Or(r.drop, verdict)
	}
	if _, known := t.Verdicts[verdict]; verdict != "" && (known || t.room(verdict)) {
		t.Verdicts[verdict]++
	}
}

// remark reads a comment of ktrace, or of ptcpdump; packets of one flow have the same.
func (t *Stats) remark(comment []byte) remark {
	if r, ok := t.comments[string(comment)]; ok {
		return r
	}
	var r remark
	var ptcpdump said
	ptcpdump.ptcpdump(string(comment))
	if ptcpdump.pod != "" && ptcpdump.uid != "" {
		r.pods = append(r.pods, t.pod(ptcpdump.namespace+"/"+ptcpdump.pod))
	}
	summary, fields, ok := pcapng.ParseComment(string(comment))
	if words := strings.Fields(summary); ok && len(words) > 1 && words[0] == "DROP" {
		r.drop = "drop " + words[1]
	}
	for _, f := range fields {
		if ok && (f.Key == "pod" || f.Key == "peer") {
			r.pods = append(r.pods, t.pod(f.Value))
		}
	}
	if len(comment) > maxComment {
		return r
	}
	if t.remarks += statsEntry + len(comment); t.remarks > maxComments {
		clear(t.comments)
		t.remarks = 0
	}
	t.comments[string(comment)] = r
	return r
}

func (t *Stats) pod(name string) *PodStats {
	p := t.pods[name]
	if p == nil {
		p = &PodStats{Name: strings.Clone(name)} // of a comment, which may be long
		if t.room(name) {
			t.pods[p.Name] = p
		}
	}
	return p
}

// close sums up what so many files held.
func (t *Stats) close(files int) {
	t.LeftOut = t.budget.LeftOut()
	for file := range files {
		t.Lost += t.lost(file)
	}
	for _, i := range t.Interfaces {
		t.Unreported = t.Unreported || !i.reported
	}
	for _, name := range slices.Sorted(maps.Keys(t.pods)) {
		if t.pods[name].Packets > 0 {
			t.Pods = append(t.Pods, *t.pods[name])
		}
	}
	slices.SortStableFunc(t.Pods, func(a, b PodStats) int { return cmp.Compare(b.Packets, a.Packets) })
	slices.SortStableFunc(t.Names, func(a, b NameStats) int { return a.Address.Compare(b.Address) })
}

// Span is the time of the first and of the last packet that matched, and how long it is; false if there were none.
func (t *Stats) Span() (first, last time.Time, ok bool) {
	return time.Unix(0, t.First).UTC(), time.Unix(0, t.Last).UTC(), t.Matched > 0
}
