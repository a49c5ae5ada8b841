// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"errors"
	"io"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/recovery"
	"ktrace/decoder/stage"
)

// Printer renders events, findings and the summary. It decides nothing and keeps no event.
type Printer interface {
	Event(event.Event) error
	Finding(event.Finding) error
	Summary(event.Summary) error
	Close() error
}

// Pipeline is the one way from records to the user, the same for a live node and for a file.
type Pipeline struct {
	Source  Source
	Stages  []stage.Stage
	Rules   []stage.Rule
	Wanted  func(event.Kind) bool  // kinds of events that the view shows; others only feed the rules
	Keep    func(event.Event) bool // what the user selected among them; nil keeps all
	Printer Printer
	Count   uint64             // end after so many shown events, 0 for no limit
	Every   time.Duration      // show the summary so far after so much time, again and again; 0 for the end alone
	Hold    bool               // show findings at the end, worst first, instead of as they come
	Early   bool               // though they are held, show at once what is certain; at the end what became of it
	Certain bool               // end when something above information is certain
	Beside  []event.Summarizer // who has something to say at the end, beside stages and rules
	// OwnerOf names the owner of a network namespace at a time, "" if it is not known; nil if no owner is known.
	OwnerOf func(netns uint32, at time.Time) string

	first, last, flushed time.Time
	summed, settled      time.Time // when a summary was last shown, and when it was last asked what is over
	works                recovery.Successes
	reported             bounded.Weighed[event.CauseKey, bool] // early
	folder               event.Folder
	only                 event.Single
	shown, filtered      map[event.Kind]uint64 // events of kinds that are wanted
	printed              uint64                // of all kinds
	received             map[event.Kind]uint64 // records
	records              uint64
	cut                  bool    // enough is shown: what else there is was not read
	ending               bool    // the source is at its end, or enough is shown
	all                  *uint64 // shown by this pipeline and those beside it; nil if it is alone
}

// flushEvery is how much time lies, by the events' own clock, between two looks for timeouts.
const flushEvery = 20 * time.Millisecond

// settleEvery is how much lies between two looks for what works again.
const settleEvery = time.Second

// errEnough ends a run that has shown as much as was asked for.
var errEnough = errors.New("enough shown")

// Run takes events until the source ends, the context is cancelled or enough is shown, then prints the summary. What was seen
// until then is always printed. Findings returns the causes found. The error is an event.MismatchError if something was lost
// without being counted.
func (p *Pipeline) Run(ctx context.Context) error {
	err := p.loop(ctx)
	p.cut = errors.Is(err, errEnough)
	if errors.Is(err, errEnough) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, p.finish())
}

// Findings returns every cause found, with its count.
func (p *Pipeline) Findings() []event.Finding { return p.folder.All() }

func (p *Pipeline) loop(ctx context.Context) error {
	for {
		e, err := p.Source.Next(ctx)
		if err != nil {
			return err
		}
		p.observe(&e)
		if err := p.step(e); err != nil {
			return err
		}
	}
}

// observe keeps the run's clock and the count of records.
func (p *Pipeline) observe(e *event.Event) {
	if p.first.IsZero() {
		p.first, p.flushed, p.summed, p.settled = e.Time, e.Time, e.Time, e.Time
		p.shown, p.filtered, p.received = map[event.Kind]uint64{}, map[event.Kind]uint64{}, map[event.Kind]uint64{}
	}
	if k := e.Body.Kind(); k != event.KindFact {
		p.received[k]++
		p.records++
	}
	if e.Time.After(p.last) {
		p.last = e.Time
	}
}

// step looks for timeouts that were up before the event came, and takes it in. Looks are at round times, so that a file,
// which has no ticks between its events, concludes at every look what the live stream, which has, concluded by then.
func (p *Pipeline) step(e event.Event) error {
	if now := p.last.Truncate(flushEvery); now.After(p.flushed) {
		p.flushed = now
		if err := p.flush(now, false); err != nil {
			return err
		}
	}
	if err := p.from(0, p.only.Event(e)); err != nil {
		return err
	}
	// Counts are the last of the facts that come together: what they sum up is of the same moment.
	if f, ok := e.Body.(event.Fact); ok && f.Counts != nil && p.Every > 0 && p.last.Sub(p.summed) >= p.Every {
		p.summed = p.last
		return p.Printer.Summary(p.summary())
	}
	return nil
}

// flush lets every stage and then every rule see how late it is.
func (p *Pipeline) flush(now time.Time, final bool) error {
	for i, s := range p.Stages {
		if err := p.from(i+1, s.Flush(now, final)); err != nil {
			return err
		}
	}
	for _, r := range p.Rules {
		if err := p.report(r.Flush(now, final)); err != nil {
			return err
		}
	}
	if !final && now.Sub(p.settled) >= settleEvery {
		return p.settle(now)
	}
	return nil
}

// from sends events through the stages from the i-th on, each to the end before the next.
func (p *Pipeline) from(i int, events []event.Event) (err error) {
	for j := range events {
		if i == len(p.Stages) {
			err = p.deliver(events[j])
		} else {
			err = p.from(i+1, p.Stages[i].Observe(events[j]))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver shows one finished event, if it is wanted, and what the rules make of it.
func (p *Pipeline) deliver(e event.Event) error {
	keep := p.Keep == nil || p.Keep(e)
	fact := e.Body.Kind() == event.KindFact
	if (keep || fact) && len(p.Rules) > 0 {
		p.works.Observe(e)
	}
	if p.Wanted(e.Body.Kind()) {
		if err := p.show(e, keep && !p.enough()); err != nil {
			return err
		}
	}
	if !keep && !fact {
		return nil
	}
	for _, r := range p.Rules {
		if err := p.report(r.Observe(e)); err != nil {
			return err
		}
	}
	if p.enough() && !p.ending {
		return errEnough
	}
	return nil
}

// enough reports whether as much is shown as was asked for. What stages still hold then is for the rules alone.
func (p *Pipeline) enough() bool {
	shown := p.printed
	if p.all != nil {
		shown = *p.all
	}
	return p.Count > 0 && shown >= p.Count
}

func (p *Pipeline) show(e event.Event, keep bool) error {
	if !keep {
		p.filtered[e.Kind()]++
		return nil
	}
	p.shown[e.Kind()]++
	p.printed++
	if p.all != nil {
		*p.all++
	}
	return p.Printer.Event(e)
}

func (p *Pipeline) report(findings []event.Finding) error {
	for _, f := range findings {
		f = f.Whole()
		f.Node = p.Source.Node().Name
		if p.OwnerOf != nil {
			f = event.AnnotateNetns(f, p.OwnerOf)
		}
		if f.Early {
			if err := p.early(f); err != nil {
				return err
			}
			continue // it comes again at the end
		}
		f = p.folder.Gather(f)
		if !p.folder.Add(f) || p.Hold {
			continue
		}
		if err := p.Printer.Finding(f); err != nil {
			return err
		}
	}
	return nil
}

// early shows what cannot wait, unless the same works again meanwhile, or its pod has ended.
func (p *Pipeline) early(f event.Finding) error {
	if _, reported := p.reported.Get(f.Key()); reported || p.ending || p.works.Since(f) {
		return nil
	}
	p.reported.Put(bounded.Owner{Netns: f.About.Netns}, f.Key(), true)
	if p.Early {
		if err := p.Printer.Finding(f); err != nil {
			return err
		}
	}
	if p.Certain {
		return errEnough
	}
	return nil
}

// settle finds out what works again, and says so of what was reported.
func (p *Pipeline) settle(now time.Time) error {
	p.settled = now
	for _, f := range p.works.Settle(&p.folder, now, p.ending) {
		if p.Hold {
			continue
		}
		f.Reported = true
		if err := p.Printer.Finding(f); err != nil {
			return err
		}
	}
	return nil
}

// finish flushes what is pending and prints the summary, even if the printer already failed on an event.
func (p *Pipeline) finish() error {
	p.ending = true
	errs := []error{p.flush(p.last, true), p.settle(p.last)}
	if p.Hold {
		for _, f := range event.Worst(p.folder.All()) {
			_, reported := p.reported.Get(f.Key())
			f.Reported = p.Early && reported
			errs = append(errs, p.Printer.Finding(f))
		}
	}
	s := p.summary()
	return errors.Join(append(errs, p.Printer.Summary(s), p.Printer.Close(), s.Accounts.Err())...)
}

func (p *Pipeline) summary() event.Summary {
	s := event.Summary{
		Duration: p.last.Sub(p.first),
		Accounts: p.accounting(),
		Records:  p.records,
		Judged:   len(p.Rules) > 0,
	}
	s.AddEvicted("findings", p.folder.Evicted())
	for _, f := range p.folder.All() {
		s.Findings = append(s.Findings, f.Tally())
	}
	for _, x := range p.Beside {
		x.Summarize(&s)
	}
	for _, stage := range p.Stages {
		if x, ok := stage.(event.Summarizer); ok {
			x.Summarize(&s)
		}
	}
	for _, rule := range p.Rules {
		if x, ok := rule.(event.Summarizer); ok {
			x.Summarize(&s)
		}
	}
	s.Accounts = p.checked(s)
	s.Balance()
	return s
}
