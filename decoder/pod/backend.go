package pod

import (
	"time"

	"ktrace/decoder"
)

// Backends returns the stage that names the pods which serve services, where events are complete: it comes last.
func (x *Index) Backends() decoder.Stage { return backends{x} }

type backends struct{ x *Index }

// Observe implements decoder.Stage.
func (b backends) Observe(e decoder.Event) []decoder.Event {
	served, ok := e.Body.(decoder.Served)
	if !ok {
		return []decoder.Event{e}
	}
	if s, ok := b.x.addrs[served.ServedAt().Addr().Unmap()].at(e.Time); ok && s.pod.Name != "" {
		e.Body = served.ServedBy(s.pod.Namespace + "/" + s.pod.Name)
	}
	return []decoder.Event{e}
}

// Flush implements decoder.Stage.
func (backends) Flush(time.Time, bool) []decoder.Event { return nil }
