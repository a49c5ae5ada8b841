// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"time"

	"ktrace/decoder/event"
)

// Backends is a stage that names the pods which serve services, where events are complete: it comes last.
type Backends struct{ x *Index }

// Backends returns the stage that knows what the index does.
func (x *Index) Backends() Backends { return Backends{x} }

// Observe implements stage.Stage.
func (b Backends) Observe(e event.Event) []event.Event {
	served, ok := e.Body.(event.Served)
	if !ok {
		return []event.Event{e}
	}
	if s, ok := b.x.addrs[served.ServedAt().Addr().Unmap()].at(e.Time); ok && s.pod.Name != "" {
		e.Body = served.ServedBy(s.pod.Namespace + "/" + s.pod.Name)
	}
	return []event.Event{e}
}

// Flush implements stage.Stage.
func (Backends) Flush(time.Time, bool) []event.Event { return nil }
