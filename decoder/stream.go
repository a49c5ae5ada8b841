// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"maps"
	"time"

	"ktrace/decoder/event"
)

// Frames yields raw records in the order in which they happened, until io.EOF: the kernel's rings or a file.
// A frame is one record, with nothing behind it, and valid until the next call.
type Frames interface {
	Next(context.Context) ([]byte, error)
}

// Source yields events until io.EOF.
type Source interface {
	Next(context.Context) (event.Event, error)
	// Counts are what the source saw, left out and lost, final once Next has returned io.EOF.
	Counts() event.Counts
	// Node is where the events come from, zero before the first.
	Node() event.Node
}

// Enricher adds what is known of the node that the records come from.
type Enricher interface {
	// Enrich returns facts about what the event refers to, as a device's name or a function's, once each. It is called with
	// every event, facts included, before that is passed on, so it must not block.
	Enrich(event.Event) []event.Fact
}

// Recorder keeps raw records. The event is what a record was decoded to, its time as the kernel's; of a packet that a capture
// writes at once it is the zero Event. Neither may be changed, and raw is valid until Record returns.
type Recorder interface {
	Record(raw []byte, e event.Event) error
}

// Stream is the Source over Frames.
type Stream struct {
	Frames    Frames     // should begin with the fact about the node: times before it count from boot
	Enrichers []Enricher // called in turn; none for a recording, which has the facts
	Recorder  Recorder   // nil if there is no recording
	// Filter, if it is not nil, reports which events pass: others are neither passed on nor recorded.
	Filter func(event.Event) bool
	// Partial says that records of the source are delivered elsewhere, or were left out of the file: what the kernel counted is not what
	// comes.
	Partial bool

	node      event.Node
	netns     event.NetnsIDs
	counts    event.Counts
	malformed map[event.Kind]uint64
	left      map[event.Kind]uint64 // by the filter
	queue     []event.Event
	taken     int         // of queue
	decoded   event.Event // last
}

// Next implements Source. Records that cannot be decoded are counted as lost and passed over; one that cannot be
// recorded ends the run, for a recording must not have holes.
func (s *Stream) Next(ctx context.Context) (event.Event, error) {
	for s.taken == len(s.queue) {
		s.queue, s.taken = s.queue[:0], 0
		raw, err := s.Frames.Next(ctx)
		if err != nil {
			return event.Event{}, err
		}
		if err := s.take(raw); err != nil {
			return event.Event{}, err
		}
	}
	s.taken++
	return s.queue[s.taken-1], nil
}

// take queues the event of one record, and before it the facts that the enrichers add.
func (s *Stream) take(raw []byte) error {
	if err := event.DecodeInto(&s.decoded, raw); err != nil {
		s.count(&s.malformed, event.KindOf(raw))
		return nil
	}
	e := s.decoded
	if f, ok := e.Body.(event.Fact); ok && f.Identity != nil {
		if s.netns == nil {
			s.netns = event.NetnsIDs{}
		}
		identity := s.netns.Learn(*f.Identity)
		e.Body = event.Fact{Identity: &identity}
	}
	if s.Filter != nil && !s.Filter(e) {
		s.count(&s.left, e.Kind())
		return nil
	}
	if f, ok := e.Body.(event.Fact); ok && f.Counts != nil {
		s.counts = *f.Counts
		c := s.withLeft(s.counts)
		f.Counts = &c
		e.Body = f
		if len(s.left) > 0 { // a recording has not got them
			raw, err := event.EncodeFact(event.RecordTime(raw), f)
			if err != nil {
				return err
			}
			return s.pass(raw, e)
		}
	}
	return s.pass(raw, e)
}

// pass is take for an event that passes the filter.
func (s *Stream) pass(raw []byte, e event.Event) error {
	if err := s.enrich(e); err != nil {
		return err
	}
	if s.Recorder != nil {
		if err := s.Recorder.Record(raw, e); err != nil {
			return err
		}
	}
	if f, ok := e.Body.(event.Fact); ok {
		s.learn(f)
		if f.Pod != nil && f.Pod.At != 0 {
			pod := *f.Pod         // the recorder may have kept the other
			pod.At += s.node.Wall // as the event's own time
			f.Pod = &pod
			e.Body = f
		}
		if f.Lost != nil {
			lost := *f.Lost
			lost.From, lost.To = lost.From+s.node.Wall, lost.To+s.node.Wall
			f.Lost = &lost
			e.Body = f
		}
	}
	e.Time = e.Time.Add(s.node.Wall)
	e.Node = s.node.Name
	s.queue = append(s.queue, e)
	return nil
}

// enrich queues the facts that the enrichers add to an event.
func (s *Stream) enrich(e event.Event) error {
	for _, w := range s.Enrichers {
		for _, f := range w.Enrich(e) {
			raw, err := event.EncodeFact(time.Duration(e.Time.UnixNano()), f)
			if err != nil {
				return err
			}
			if err := s.take(raw); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Stream) learn(f event.Fact) {
	if f.Node != nil {
		s.node = *f.Node
	}
}

func (s *Stream) count(of *map[event.Kind]uint64, k event.Kind) {
	if *of == nil {
		*of = map[event.Kind]uint64{}
	}
	(*of)[k]++
}

// Counts implements Source.
func (s *Stream) Counts() event.Counts {
	c := s.withLeft(s.counts)
	for k, n := range s.malformed {
		c.OfKind(k, event.Counts{Lost: event.Losses{Userspace: n}})
	}
	return c
}

// withLeft are the kernel's counts with what the filter left out.
func (s *Stream) withLeft(c event.Counts) event.Counts {
	c.Kinds = maps.Clone(c.Kinds)
	for k, n := range s.left {
		c.OfKind(k, event.Counts{Filtered: n})
	}
	c.Final = c.Final && !s.Partial
	return c
}

// Node implements Source.
func (s *Stream) Node() event.Node { return s.node }
