package capture

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder"
	"ktrace/decoder/pcapng"
)

// factKey is what a fact of how things are replaces.
type factKey struct {
	kind string
	place
	address uint64
	service string // its source, its name and range; of a setting its key
}

// takeFact learns from a fact and keeps it for the file. Ticks only say that time goes by, which packets do too.
func (w *Writer) takeFact(raw []byte, e decoder.Event, f decoder.Fact) error {
	if f == (decoder.Fact{}) {
		return nil
	}
	w.index.Observe(e)
	for _, s := range w.stages {
		s.Observe(e)
	}
	raw = bytes.Clone(raw)
	clear(w.notes)
	w.learn(f)
	w.keep(raw, f)
	if w.w != nil {
		return w.hold(raw)
	}
	return nil
}

func (w *Writer) learn(f decoder.Fact) {
	switch {
	case f.Node != nil:
		w.node = *f.Node
	case f.Device != nil:
		p := place{f.Device.Netns, f.Device.Ifindex}
		w.devices[p] = *f.Device
		if f.Device.Gone {
			delete(w.devices, p)
			delete(w.points, point{place: p}) // the next of that number is another
		} else if t := w.points[point{place: p}]; t != nil {
			t.lost = f.Device.Lost
		}
	case f.Counts != nil:
		w.lost = f.Counts.Lost.Total()
	case f.Pod != nil:
		w.namePod(*f.Pod)
	case f.Service != nil && f.Service.Name != "":
		w.nameService(*f.Service)
	}
}

func (w *Writer) nameService(f decoder.ServiceFact) {
	for _, a := range f.Addrs {
		a = a.Unmap()
		if f.Gone {
			delete(w.service, a)
			continue
		}
		w.service[a] = f.Namespace + "/" + f.Name
		w.name(a, w.service[a])
	}
}

// keep notes what the next file has to begin with.
func (w *Writer) keep(raw []byte, f decoder.Fact) {
	switch {
	case f.Node != nil:
		w.replace(factKey{kind: "node"}, raw)
	case f.Device != nil:
		key := factKey{kind: "device", place: place{f.Device.Netns, f.Device.Ifindex}}
		if f.Device.Gone {
			w.drop(key)
			return
		}
		w.replace(key, raw)
	case f.Symbol != nil:
		w.replace(factKey{kind: "symbol", address: f.Symbol.Address}, raw)
	case f.Pod != nil:
		p := f.Pod
		if p.Gone && p.Netns == 0 && len(p.Addrs) == 0 && len(p.Containers) == 0 {
			w.facts = slices.DeleteFunc(w.facts, func(f *fact) bool { return f.uid == p.UID })
			return
		}
		w.facts = append(w.facts, &fact{uid: p.UID, raw: raw})
	case f.Service != nil:
		s := f.Service
		key := factKey{kind: "service", place: place{netns: s.Netns}, service: fmt.Sprint(s.Source, " ", s.Namespace, "/", s.Name, " ", s.CIDR)}
		if s.Gone {
			w.drop(key)
			return
		}
		w.replace(key, raw)
	case f.Resolv != nil:
		w.replace(factKey{kind: "resolv", place: place{netns: f.Resolv.Netns}}, raw)
	case f.Sysctl != nil:
		w.replace(factKey{kind: "sysctl", place: place{netns: f.Sysctl.Netns}, service: f.Sysctl.Key}, raw)
	}
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

// namePod notes the names of a pod's addresses: all of them, for the pod may have got its name after its address.
func (w *Writer) namePod(f decoder.PodFact) {
	p, ok := w.index.Pod(f.UID)
	if !ok || f.Gone || p.Name == "" {
		return
	}
	for _, a := range p.Addrs {
		w.name(a, p.Namespace+"/"+p.Name)
	}
}

// name has an address named in the file, unless it is named so already.
func (w *Writer) name(a netip.Addr, name string) {
	a = a.Unmap()
	if w.named[a] == name {
		return
	}
	w.named[a] = name
	if w.w != nil {
		w.names = append(w.names, pcapng.Name{Address: a, Name: name})
	}
}

// nameAll has all addresses named that are known to be somebody's.
func (w *Writer) nameAll() {
	for _, p := range w.index.Pods() {
		for _, a := range p.Addrs {
			if p.Name != "" {
				w.name(a, p.Namespace+"/"+p.Name)
			}
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(w.service), netip.Addr.Compare) {
		w.name(a, w.service[a])
	}
}

// title is the text of what an end is called, "" if nobody knows.
func title(p decoder.Pod) string {
	if p.Name != "" && p.Container != "" {
		return strings.Join([]string{p.Namespace, p.Name, p.Container}, "/")
	}
	return p.String()
}
