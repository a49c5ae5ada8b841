// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/packet"
)

// KindNAT is a flow and its translation; a stage makes it.
const KindNAT Kind = "nat"

// NATState says what became of a packet to a service, or from one.
type NATState string

// What may become of it.
const (
	NATHit   NATState = "hit"   // translated to a backend
	NATMiss  NATState = "miss"  // not translated: it went on to the service's own address
	NATStale NATState = "stale" // translated to a backend that is gone
	NATFull  NATState = "full"  // conntrack had no room for it
	NATRace  NATState = "race"  // it lost against another packet of its flow
	NATReply NATState = "reply-not-untranslated"
)

// NAT is one flow's translation of a service's address to a backend's, or why there is none.
type NAT struct {
	Service  string           `json:"service"` // ns/name, or the address where that is not known
	Backend  netip.AddrPort   `json:"backend,omitzero"`
	Pod      string           `json:"backend_pod,omitempty"` // ns/name of the pod that is the backend
	Original packet.FlowTuple `json:"original"`
	Reply    packet.FlowTuple `json:"reply,omitzero"`
	State    NATState         `json:"state"`
}

// Kind implements Body.
func (NAT) Kind() Kind { return KindNAT }

// ServedAt implements Served.
func (n NAT) ServedAt() netip.AddrPort { return n.Backend }

// ServedBy implements Served.
func (n NAT) ServedBy(pod string) Body {
	n.Pod = pod
	return n
}

// backedBy is a pod and its address, or the address of who is no pod.
func backedBy(pod string, at netip.AddrPort) string {
	if pod == "" {
		return at.String()
	}
	return fmt.Sprintf("%s (%v)", pod, at)
}

// Summary implements Body.
func (n NAT) Summary() string { return fmt.Sprintf("%s %v to %s", n.State, n.Original, n.Service) }

// Columns implements Tabular.
func (NAT) Columns() []Column {
	return []Column{{"STATE", 6}, {"SERVICE", 24}, {"BACKEND", 21}, {"FLOW", 0}}
}

// Row implements Tabular.
func (n NAT) Row(Event) []string {
	to := ""
	if n.Backend.IsValid() {
		to = backedBy(n.Pod, n.Backend)
	}
	return []string{string(n.State), n.Service, to, n.Original.String()}
}

// NATCount is how many flows to a service went to a backend, or were not translated.
type NATCount struct {
	Service string         `json:"service"`
	Backend netip.AddrPort `json:"backend,omitzero"`
	State   NATState       `json:"state"`
	Count   uint64         `json:"count"`
}

// NATSummary is what became of flows to services, and how full conntrack is.
type NATSummary struct {
	Flows  []NATCount       `json:"flows"`
	Tables []ConntrackStats `json:"tables,omitempty"`
}

// Sort puts the most frequent first.
func (s *NATSummary) Sort() {
	slices.SortFunc(s.Flows, func(a, b NATCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Service, b.Service), a.Backend.Compare(b.Backend), cmp.Compare(a.State, b.State))
	})
	slices.SortFunc(s.Tables, func(a, b ConntrackStats) int { return cmp.Compare(a.Netns, b.Netns) })
}

// Lines implements Report.
func (s *NATSummary) Lines() []string {
	lines := []string{"   FLOWS STATE  SERVICE                  BACKEND"}
	for _, c := range s.Flows {
		to := "-"
		if c.Backend.IsValid() {
			to = c.Backend.String()
		}
		lines = append(lines, fmt.Sprintf("%8d %-6s %-24s %s", c.Count, c.State, c.Service, to))
	}
	for _, t := range s.Tables {
		lines = append(lines, fmt.Sprintf("conntrack of netns %d: %d of %d entries", t.Netns, t.Count, t.Max))
	}
	return lines
}
