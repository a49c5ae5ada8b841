// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/packet"
)

// Hit is a client that the cause of a finding hits.
type Hit struct {
	Pod   Pod        `json:"pod,omitzero"`
	From  netip.Addr `json:"from,omitzero"` // the client, where it is known
	To    string     `json:"to,omitempty"`  // whom it wanted to reach, as End writes it
	Count uint64     `json:"count"`
}

// whom names who is hit, "" if that is not known.
func (h Hit) whom() string {
	switch name := h.Pod.String(); {
	case name != "":
		return name
	case h.From.IsValid():
		return h.From.String()
	}
	return ""
}

func (h Hit) same(x Hit) bool {
	return h.Pod.String() == x.Pod.String() && h.From == x.From && h.To == x.To
}

// maxHits is how many of those whom it hits a finding names.
const maxHits = 128

// hit is whom a finding hits that was found once.
func (f Finding) hit() []Hit {
	h := Hit{Pod: f.Pod, Count: f.Count}
	if len(f.About.Clients) > 0 {
		h.From = f.About.Clients[0]
	}
	if len(f.About.Servers) > 0 {
		h.To = packet.FormatAddrPort(f.About.Servers[0])
	}
	if h.whom() == "" && h.To == "" {
		return nil
	}
	return []Hit{h}
}

// alsoHits adds whom another finding of the same cause hits.
func (f *Finding) alsoHits(x Finding, room bool) {
	f.Unnamed += x.Unnamed
	for _, h := range x.Hits {
		i := slices.IndexFunc(f.Hits, h.same)
		switch {
		case i >= 0:
			f.Hits[i].Count += h.Count
		case room && len(f.Hits) < maxHits:
			f.Hits = append(f.Hits, h)
		default:
			f.Unnamed += h.Count
		}
	}
}

// Victims are the hits in a line; "" if there is but one, which the finding itself names.
func Victims(hits []Hit, unnamed uint64) string {
	if len(hits) < 2 {
		return ""
	}
	var whom, to []string
	for _, h := range hits {
		whom, to = once(whom, h.whom()), once(to, h.To)
	}
	text := few(whom)
	if len(to) > 1 {
		text = strings.TrimLeft(text+" on the way to "+few(to), " ")
	}
	if unnamed > 0 {
		text += fmt.Sprintf(", and others %d times", unnamed)
	}
	return text
}

// once adds a name that is not in the list.
func once(list []string, name string) []string {
	if name == "" || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// few lists the first of many names.
func few(names []string) string {
	const shown = 3
	if more := len(names) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), more)
	}
	return strings.Join(names, ", ")
}
