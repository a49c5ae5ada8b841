// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"maps"
	"slices"

	"ktrace/decoder/event"
)

// accounting says what became of all that was seen: of the records, by kind, which the kernel counted as it saw them; and of what
// the stages made of them, by what is shown.
func (p *Pipeline) accounting() event.Accounting {
	counted := p.Source.Counts().ByKind()
	kinds := map[event.Kind]bool{}
	for k := range counted {
		kinds[k] = true
	}
	for k := range p.received {
		kinds[k] = true
	}
	var all event.Accounting
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, p.recordsOf(k, counted[k]))
	}
	made := maps.Clone(p.shown)
	for k, n := range p.filtered {
		made[k] += n
	}
	for _, k := range slices.Sorted(maps.Keys(made)) {
		if !kinds[k] {
			all = append(all, event.Account{Kind: k, Unit: event.UnitOf(k), Own: true, Seen: made[k], Shown: p.shown[k], Filtered: p.filtered[k]})
		}
	}
	return all
}

// recordsOf is the account of one kind of record. What is received and not shown is a part of what is, or of no interest.
func (p *Pipeline) recordsOf(k event.Kind, of event.Counts) event.Account {
	received := p.received[k]
	shown := min(p.shown[k], received) // stages make some kinds of records, too
	return event.Account{Kind: k, Unit: event.UnitRecord, Own: p.Wanted(k), Seen: of.Seen, Shown: shown, Filtered: of.Filtered + received - shown, Lost: of.Lost}
}

// checked are the accounts of a summary with what is missing in them. Without the kernel's last word, as where the run ended before all was
// read, what is known to have been seen is what is accounted for; what it counts of syncs is what their histograms have, not its records.
func (p *Pipeline) checked(s event.Summary) event.Accounting {
	final := p.Source.Counts().Final
	for i := range s.Accounts {
		a := &s.Accounts[i]
		switch {
		case a.Kind == event.KindDNS && s.DNS != nil && !p.cut:
			a.Seen = s.DNS.Queries
		case !final && a.Unit == event.UnitRecord, a.Kind == event.KindFsync && (!final || a.Unit == event.UnitRecord):
			a.Seen = a.Shown + a.Filtered + a.Lost.Total()
		}
		*a = a.Check()
	}
	return s.Accounts
}
