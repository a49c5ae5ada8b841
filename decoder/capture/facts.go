// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
)

// takeFact learns from a fact and keeps it for the file. Ticks only say that time goes by, which packets do too.
func (w *Writer) takeFact(raw []byte, e event.Event, f event.Fact) error {
	if f == (event.Fact{}) {
		return nil
	}
	if f.Identity != nil {
		identity := w.netns.Learn(*f.Identity)
		f = event.Fact{Identity: &identity}
		e.Body = f
	}
	w.index.Observe(e)
	for _, s := range w.stages {
		s.Observe(e)
	}
	raw = bytes.Clone(raw)
	clear(w.notes)
	w.learn(f)
	if err := w.keep(raw, f); err != nil {
		return err
	}
	if w.w != nil {
		return w.hold(raw)
	}
	return nil
}

func (w *Writer) learn(f event.Fact) {
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

func (w *Writer) nameService(f event.ServiceFact) {
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

// namePod notes the names of a pod's addresses: all of them, for the pod may have got its name after its address.
func (w *Writer) namePod(f event.PodFact) {
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

// nameAll writes the names of all addresses that have one.
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

// title is the name of an end, "" if it is unknown.
func title(p event.Pod) string {
	if p.Name != "" && p.Container != "" {
		return strings.Join([]string{p.Namespace, p.Name, p.Container}, "/")
	}
	return p.String()
}
