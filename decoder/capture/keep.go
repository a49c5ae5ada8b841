// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"fmt"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// factKey is what a fact of how things are replaces.
type factKey struct {
	kind string
	place
	address uint64
	name    string // of a service its source and system of rules, its name and range; of a setting its key; of a chain where it is
}

// Kinds of facts that are of a namespace, whose end is not reported.
const (
	kindResolv = "resolv"
	kindSysctl = "sysctl"
	kindChain  = "chain"
	kindNetns  = "netns"
)

// maxNetnsFacts is how many facts are kept for the next file that are of namespaces: those that were not reported for long go.
const maxNetnsFacts = 1 << 15

// keep notes what the next file has to begin with: what is reported once. What events are explained by is reported with them.
func (w *Writer) keep(raw []byte, f event.Fact) error {
	switch {
	case f.Node != nil:
		w.replace(factKey{kind: "node"}, raw)
	case f.Device != nil:
		key := factKey{kind: "device", place: place{f.Device.Netns, f.Device.Ifindex}}
		if f.Device.Gone {
			w.drop(key)
			return nil
		}
		w.replace(key, raw)
	case f.Symbol != nil:
		w.replace(factKey{kind: "symbol", address: f.Symbol.Address}, raw)
	case f.Pod != nil:
		p := f.Pod
		if p.Gone && p.Netns == 0 && len(p.Addrs) == 0 && len(p.Containers) == 0 {
			w.facts = slices.DeleteFunc(w.facts, func(f *fact) bool { return f.uid == p.UID })
			return nil
		}
		w.facts = append(w.facts, &fact{uid: p.UID, raw: raw})
	case f.Service != nil:
		s := f.Service
		key := factKey{kind: "service", place: place{netns: s.Netns}, name: fmt.Sprint(s.Source, " ", s.System, " ", s.Namespace, "/", s.Name, " ", s.CIDR)}
		if s.Gone {
			w.drop(key)
			return nil
		}
		w.replace(key, raw)
	case f.Resolv != nil:
		w.replaceOfSpace(factKey{kind: kindResolv, place: place{netns: f.Resolv.Netns}}, raw)
	case f.Sysctl != nil:
		w.replaceOfSpace(factKey{kind: kindSysctl, place: place{netns: f.Sysctl.Netns}, name: f.Sysctl.Key}, raw)
	case f.Chain != nil:
		c := f.Chain
		w.replaceOfSpace(factKey{kind: kindChain, place: place{netns: c.Netns}, name: fmt.Sprint(c.System, " ", c.Family, " ", c.Table, " ", c.Chain)}, raw)
	case f.Identity != nil:
		if inode, ok := f.ReplacedNetns(); ok {
			w.forget(func(key factKey, _ *fact) bool { return key.netns == inode })
		}
		w.replaceOfSpace(factKey{kind: kindNetns, place: place{netns: f.Identity.Inode}}, raw)
	case f.Fsync != nil:
		return w.keepFsync(raw, *f.Fsync)
	}
	return nil
}

// keepFsync notes which syncs are watched, and what was counted of them: the next file begins there.
func (w *Writer) keepFsync(raw []byte, f event.FsyncFact) error {
	if f.Scope != nil {
		w.replace(factKey{kind: "fsync scope"}, raw)
	}
	if f.Counts == nil {
		return nil
	}
	before, err := event.EncodeFact(event.RecordTime(raw), event.Fact{Fsync: &event.FsyncFact{Before: f.Counts}})
	if err == nil {
		w.replace(factKey{kind: "fsync counts"}, before)
	}
	return err
}

// drop forgets a fact that is no more.
func (w *Writer) drop(key factKey) {
	if gone := w.current[key]; gone != nil {
		delete(w.current, key)
		w.facts = slices.DeleteFunc(w.facts, func(f *fact) bool { return f == gone })
	}
}

func (w *Writer) replace(key factKey, raw []byte) {
	if f := w.current[key]; f != nil {
		f.raw = raw
		return
	}
	f := &fact{raw: raw}
	w.current[key] = f
	w.facts = append(w.facts, f)
}

// replaceOfSpace is replace for what is of a namespace. The older half goes where there are too many.
func (w *Writer) replaceOfSpace(key factKey, raw []byte) {
	if w.current[key] == nil && w.netnsFacts >= maxNetnsFacts {
		w.forgetNetnsFacts()
	}
	if w.current[key] == nil {
		w.netnsFacts++
	}
	w.replace(key, raw)
}

// forgetNetnsFacts forgets the half of the facts about namespaces that was reported longest ago.
func (w *Writer) forgetNetnsFacts() {
	var times []time.Duration
	for key, f := range w.current {
		if key.ofSpace() {
			times = append(times, event.RecordTime(f.raw))
		}
	}
	slices.Sort(times)
	middle := times[len(times)/2]
	w.forget(func(key factKey, f *fact) bool { return key.ofSpace() && event.RecordTime(f.raw) <= middle })
}

// forget drops the facts that are picked.
func (w *Writer) forget(picked func(factKey, *fact) bool) {
	gone := map[*fact]bool{}
	for key, f := range w.current {
		if !picked(key, f) {
			continue
		}
		gone[f] = true
		delete(w.current, key)
		if key.ofSpace() {
			w.netnsFacts--
		}
	}
	w.facts = slices.DeleteFunc(w.facts, func(f *fact) bool { return gone[f] })
}

func (k factKey) ofSpace() bool {
	return k.kind == kindResolv || k.kind == kindSysctl || k.kind == kindChain || k.kind == kindNetns
}
