// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// Backends returns the stage that names the pods which serve services, where events are complete: it comes last.
func (x *Index) Backends() stage.Stage { return backends{x} }

type backends struct{ x *Index }

// Observe implements stage.Stage.
func (b backends) Observe(e event.Event) []event.Event {
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
func (backends) Flush(time.Time, bool) []event.Event { return nil }
