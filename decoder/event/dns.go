// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// KindDNS is a DNS lookup; a stage makes it of packets.
const KindDNS Kind = "dns"

// DNSOutcome says what became of a query.
type DNSOutcome string

// What may become of a query.
const (
	DNSAnswered   DNSOutcome = "answered"    // with whatever rcode
	DNSNoResponse DNSOutcome = "no-response" // within the time waited
	DNSDropped    DNSOutcome = "dropped"     // the kernel threw the query or its answer away
	DNSRejected   DNSOutcome = "rejected"    // an ICMP error came for it
	DNSTruncated  DNSOutcome = "truncated"   // the answer did not fit and says to ask over TCP
	DNSUnknown    DNSOutcome = "unknown"     // records were lost meanwhile that may have shown it
)

// DNS is one query and what became of it. The event's packet is the query as its client sent it, the event's time
// is when.
type DNS struct {
	ID        uint16         `json:"id"`
	Name      string         `json:"qname"` // without the last dot, but for the root itself
	Type      string         `json:"qtype"`
	Rcode     string         `json:"rcode,omitempty"` // NOERROR, NXDOMAIN, ..., "" without an answer
	Server    netip.AddrPort `json:"server"`          // whom the client asked
	Backend   netip.AddrPort `json:"backend,omitzero"`
	Pod       string         `json:"backend_pod,omitempty"` // ns/name of the pod that is the backend
	Transport string         `json:"transport"`
	Latency   time.Duration  `json:"latency_ns,omitempty"` // from the query's first sight to the answer's last
	Beyond    time.Duration  `json:"beyond_ns,omitempty"`  // of that, from the query's last sight to the answer's first
	Attempts  int            `json:"attempts"`             // the how many-th time the client asks this
	Outcome   DNSOutcome     `json:"outcome"`
	NoData    bool           `json:"nodata,omitempty"` // NOERROR, and no record of that type: NODATA
	Errors    []DNSError     `json:"extended_errors,omitempty"`
	Answers   []string       `json:"answers"`                    // data of the answer section, as far as it was taken
	LeftOut   int            `json:"answers_left_out,omitempty"` // records of it that were not taken
	Size      uint32         `json:"size,omitempty"`             // of the answer, bytes behind the UDP header
	EDNSSize  uint16         `json:"edns_size,omitempty"`        // largest answer that the client takes over UDP; 0: it did not say, 512

	ClientNetns uint32 `json:"client_netns,omitempty"` // where the query was first seen
	ServerNetns uint32 `json:"server_netns,omitempty"` // where a server received it, 0 if not on this node
	Last        *Sight `json:"last,omitempty"`         // where the query was last seen
	AnswerLast  *Sight `json:"answer_last,omitempty"`  // where the answer was last seen
	AnswerFrom  string `json:"answer_from,omitempty"`  // the answer's source where it reached the client, if another than Server
	AnswerTo    string `json:"answer_to,omitempty"`    // the answer's destination there, if another than the query's source
	Drop        *Loss  `json:"drop,omitempty"`
	ICMP        *ICMP  `json:"icmp,omitempty"`

	Connection *DNSConnection `json:"connection,omitempty"`      // over TCP: how it ended before an answer came
	Unsent     bool           `json:"unsent,omitempty"`          // over TCP: nothing was asked, for the connection came to nothing
	Retry      bool           `json:"after_truncated,omitempty"` // over TCP, because the answer over UDP did not fit
	Captured   bool           `json:"captured,omitempty"`        // known from the packets of a capture
	OneSided   bool           `json:"one_sided,omitempty"`       // the answer may have come without being seen: that none was says nothing
	Lost       *Gap           `json:"lost_records,omitempty"`    // of an unknown outcome
	// Fragments is what came of an answer that is larger than a packet; nil if it came in one piece, or nothing came.
	Fragments *Fragments `json:"fragments,omitempty"`
	// Hops is the way of the query and of the answer, in order; only of what went wrong or was slow.
	Hops []Sight `json:"hops,omitempty"`
}

// Fragments is how much of an answer came, at the client or where it went farthest.
type Fragments struct {
	Arrived  uint32 `json:"arrived"`        // bytes
	Size     uint32 `json:"size,omitempty"` // of the whole, 0 if its last fragment did not come
	First    bool   `json:"first"`          // the first fragment came, which says what it is
	AtClient bool   `json:"at_client"`
}

// Kind implements Body.
func (DNS) Kind() Kind { return KindDNS }

// Result is the rcode of an answer, NODATA if it has no such record, or what happened instead.
func (d DNS) Result() string {
	switch {
	case d.Outcome == DNSAnswered && d.NoData:
		return "NODATA"
	case d.Outcome == DNSAnswered:
		return d.Rcode
	case d.Outcome == DNSDropped && d.Drop != nil:
		return "dropped " + d.Drop.Reason
	case d.Outcome == DNSRejected && d.ICMP != nil:
		return "rejected " + d.ICMP.Name
	case d.Outcome == DNSRejected && d.Connection != nil:
		return "rejected " + d.Connection.How
	}
	return string(d.Outcome)
}

// ServedAt implements Served.
func (d DNS) ServedAt() netip.AddrPort { return d.Backend }

// ServedBy implements Served.
func (d DNS) ServedBy(pod string) Body {
	d.Pod = pod
	return d
}

// Summary implements Body.
func (d DNS) Summary() string {
	if d.Unsent {
		return fmt.Sprintf("a connection to %v: %s", d.Server, d.Result())
	}
	return fmt.Sprintf("%s %s at %v: %s", d.Name, d.Type, d.Server, d.Result())
}

// Columns implements Tabular.
func (DNS) Columns() []Column {
	return []Column{{"NAME", 30}, {"TYPE", 5}, {"SERVER", 16}, {"RESULT", 11}, {"LATENCY", 9}, {"", 0}}
}

// Row implements Tabular.
func (d DNS) Row(Event) []string {
	server := d.Server.Addr().String()
	if d.Server.Port() != 53 {
		server = d.Server.String()
	}
	latency, more := "", ""
	if d.Transport == "tcp" {
		more = "over TCP "
	}
	if d.Latency > 0 {
		latency = fmt.Sprintf("%.3fms", float64(d.Latency)/1e6)
	}
	if d.Attempts > 1 {
		more += fmt.Sprintf("attempt %d ", d.Attempts)
	}
	if d.Backend.IsValid() && d.Backend != d.Server {
		more += "backend " + backedBy(d.Pod, d.Backend)
	}
	for _, e := range d.Errors {
		more += " " + e.String()
	}
	name := d.Name
	if name == "" && d.Unsent {
		name = "(a connection)"
	}
	return []string{name, d.Type, server, d.Result(), latency, strings.TrimSpace(more)}
}

// DNSSummary is what a run saw of DNS.
type DNSSummary struct {
	Queries  uint64                `json:"queries"`
	Outcomes map[DNSOutcome]uint64 `json:"outcomes,omitempty"`
	Retried  uint64                `json:"answered_after_truncated,omitempty"` // over TCP; of the answered ones
	Unseen   uint64                `json:"unseen,omitempty"`                   // over TCP: what became of them was not captured
	Pending  uint64                `json:"pending,omitempty"`                  // neither answered nor waited for long enough when the run ended
	Rcodes   map[string]uint64     `json:"rcodes,omitempty"`
	P50      time.Duration         `json:"p50_ns,omitempty"`
	P99      time.Duration         `json:"p99_ns,omitempty"`
	Max      time.Duration         `json:"max_ns,omitempty"`
}

// Lines implements Report.
func (d DNSSummary) Lines() []string {
	lines := []string{fmt.Sprintf("queries: %d", d.Queries)}
	if d.Queries > 0 {
		lines[0] += " (" + counters(d.Outcomes) + ")"
	}
	if d.Retried > 0 {
		lines = append(lines, fmt.Sprintf("%d answers did not fit into a datagram and were had over TCP", d.Retried))
	}
	if d.Unseen > 0 {
		lines = append(lines, fmt.Sprintf("%d more over TCP: not all of their connections was captured", d.Unseen))
	}
	if d.Pending > 0 {
		lines = append(lines, fmt.Sprintf("%d more were not waited for long enough", d.Pending))
	}
	if len(d.Rcodes) > 0 {
		lines = append(lines, "answers: "+counters(d.Rcodes))
		lines = append(lines, fmt.Sprintf("latency: p50 %v, p99 %v, max %v",
			d.P50.Round(time.Microsecond), d.P99.Round(time.Microsecond), d.Max.Round(time.Microsecond)))
	}
	return lines
}

// counters lists how often what was, most first.
func counters[K ~string](m map[K]uint64) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b K) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = fmt.Sprintf("%d %s", m[k], k)
	}
	return strings.Join(parts, ", ")
}
