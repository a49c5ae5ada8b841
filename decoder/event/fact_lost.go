// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"time"

	"ktrace/decoder/bounded"
)

// LostRecords are records of one kind that were lost on their way from the kernel. What no record shows of their time may have
// been so all the same.
type LostRecords struct {
	Kind  Kind          `json:"kind,omitempty"` // "" if it is not known: a program did not run
	Count uint64        `json:"count"`
	From  time.Duration `json:"from_ns"` // since boot; of an event of a stream, since 1970
	To    time.Duration `json:"to_ns"`   // the same
}

// ofPackets reports whether a record of the kind may have shown what became of a packet.
func (l LostRecords) ofPackets() bool { return l.Kind != KindFsync && l.Kind != KindCgroup }

// Gap is a time in which records were lost.
type Gap struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Count uint64    `json:"count"`
}

// String says how many records, and when.
func (g Gap) String() string {
	const clock = "15:04:05.000"
	return fmt.Sprintf("%d records were lost between %s and %s", g.Count, g.From.UTC().Format(clock), g.To.UTC().Format(clock))
}

// Gaps are the times in which records about packets were lost, as far as LostRecords said: what concludes from what no record
// shows must ask whether its time was whole.
type Gaps struct{ bounded.Gaps }

// Learn takes in the fact about lost records, if it is one.
func (g *Gaps) Learn(e Event) {
	if f, ok := e.Body.(Fact); ok && f.Lost != nil && f.Lost.ofPackets() {
		g.Add(int64(f.Lost.From), int64(f.Lost.To), f.Lost.Count)
	}
}

// Within returns the losses that touch a time; ok is false if there are none.
func (g *Gaps) Within(from, to time.Time) (gap Gap, ok bool) {
	first, last, n := g.Touching(from.UnixNano(), to.UnixNano())
	return Gap{time.Unix(0, first).UTC(), time.Unix(0, last).UTC(), n}, n > 0
}
