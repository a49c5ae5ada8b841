// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/packet"
)

// FlowSummary is the books of the connections, and, in the view of flows, the connections themselves.
type FlowSummary struct {
	Books *FlowBooks `json:"books,omitempty"`
	Table []FlowRow  `json:"table,omitempty"` // those in trouble first, then by bytes
	More  int        `json:"more,omitempty"`  // rows that the table has no room for
}

// FlowVerdict is how a connection does.
type FlowVerdict string

// Verdicts, the worst first.
const (
	FlowUnacked  FlowVerdict = "unacked"  // nothing is acknowledged any more
	FlowStalled  FlowVerdict = "stalled"  // a window is zero
	FlowLossy    FlowVerdict = "lossy"    // a good part must be sent again
	FlowError    FlowVerdict = "error"    // it ended by an error
	FlowNoAnswer FlowVerdict = "noanswer" // it was never established
	FlowOK       FlowVerdict = "ok"
)

// FlowRow is a connection, from the end that reports it.
type FlowRow struct {
	Pod       string           `json:"pod,omitempty"`
	Process   Process          `json:"process,omitzero"`
	Netns     uint32           `json:"netns"`
	Flow      packet.FlowTuple `json:"flow"`
	Peer      string           `json:"peer,omitempty"`   // pod or service at the other end
	Backend   netip.AddrPort   `json:"backend,omitzero"` // what that was translated to
	Role      FlowRole         `json:"role,omitempty"`   // of the end that reports it
	State     string           `json:"state"`            // TCP's; of one that has ended "ended"
	Error     string           `json:"error,omitempty"`  // errno by which it ended
	Sent      uint64           `json:"sent"`             // payload bytes
	Received  uint64           `json:"received"`         // payload bytes
	Loss      FlowLoss         `json:"loss"`
	Handshake time.Duration    `json:"handshake_rtt_ns,omitempty"`
	RTT       time.Duration    `json:"rtt_ns,omitempty"`
	Verdict   FlowVerdict      `json:"verdict"`
}

// Shares that make a connection lossy: see the finding tcp-loss.
const (
	lossyAt    = 1.0 / 16
	lossyLeast = 4
)

// RowOf is the row of a connection's latest report.
func RowOf(e Event, f Flow) FlowRow {
	r := FlowRow{
		Pod: e.Pod.String(), Netns: e.Netns, Flow: e.Packet.Flow(), Peer: e.Peer.String(), Backend: f.Backend, State: string(f.State), Error: f.Error, Verdict: FlowOK,
	}
	if e.PID != 0 {
		r.Process = e.Process()
	}
	t := f.TCP
	if t == nil {
		if f.State != FlowEstablished {
			r.Verdict = FlowNoAnswer
		}
		return r
	}
	if f.State == FlowOpen {
		r.State = t.State
	}
	r.Role, r.Sent, r.Received, r.Loss, r.Handshake, r.RTT = t.Role, t.Sent, t.Received, t.Loss, t.Handshake, t.RTT
	switch {
	case t.Hangs():
		r.Verdict = FlowUnacked
	case t.PeerStalls(), t.Stalls():
		r.Verdict = FlowStalled
	case t.Loss.Lost >= lossyLeast && t.Loss.Share() >= lossyAt:
		r.Verdict = FlowLossy
	case f.Error != "":
		r.Verdict = FlowError
	}
	return r
}

// rank of verdicts, the worst first.
func (v FlowVerdict) rank() int {
	return slices.Index([]FlowVerdict{FlowUnacked, FlowStalled, FlowLossy, FlowError, FlowNoAnswer, FlowOK}, v)
}

// CompareFlows puts connections in trouble first, then those with the most bytes.
func CompareFlows(a, b FlowRow) int {
	return cmp.Or(a.Verdict.rank()-b.Verdict.rank(), cmp.Compare(b.Loss.Lost, a.Loss.Lost), cmp.Compare(b.Sent+b.Received, a.Sent+a.Received),
		a.Flow.Src.Compare(b.Flow.Src), a.Flow.Dst.Compare(b.Flow.Dst))
}

// Lines implements Report.
func (s *FlowSummary) Lines() []string {
	var lines []string
	if len(s.Table) > 0 {
		lines = append(lines, fmt.Sprintf("%-8s %-22s %-22s %7s %7s %-6s %s", "VERDICT", "FROM", "TO", "SENT", "RECV", "LOST", "RTT"))
	}
	for _, r := range s.Table {
		lines = append(lines, fmt.Sprintf("%-8s %-22s %-22s %7s %7s %-6s %s", r.Verdict, r.from(), r.to(), bytesText(r.Sent), bytesText(r.Received), r.lost(), rttText(cmp.Or(r.Handshake, r.RTT))))
		if more := r.more(); more != "" {
			lines = append(lines, "         "+more)
		}
	}
	if s.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", s.More))
	}
	if s.Books != nil {
		lines = append(lines, s.Books.Lines()...)
	}
	return lines
}

// lost is the share of the segments that were sent again; of few, their number: a FIN that is sent again is no segment with data.
func (r FlowRow) lost() string {
	switch {
	case r.Loss.Lost == 0:
		return "-"
	case r.Loss.Lost < lossyLeast:
		return fmt.Sprint(r.Loss.Lost)
	}
	return fmt.Sprintf("%.1f%%", 100*r.Loss.Share())
}

// from is who reports the connection: the pod, else the address.
func (r FlowRow) from() string { return cmp.Or(r.Pod, packet.FormatAddrPort(r.Flow.Src)) }

func (r FlowRow) to() string { return cmp.Or(r.Peer, packet.FormatAddrPort(r.Flow.Dst)) }

// more is what one in trouble says besides: its process, ends, state and error.
func (r FlowRow) more() string {
	if r.Verdict == FlowOK && r.Pod == "" && r.Peer == "" {
		return ""
	}
	text := fmt.Sprintf("%v %s", r.Flow, r.State)
	if r.Backend.IsValid() {
		text += fmt.Sprintf(", backend %v", r.Backend)
	}
	if r.Process.PID != 0 {
		text += ", " + r.Process.String()
	}
	if r.Error != "" {
		text += ", " + r.Error
	}
	return text
}

// bytesText is a number of bytes in at most six characters.
func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1000 {
		return fmt.Sprint(n)
	}
	x := float64(n)
	for i := range units {
		if x /= 1000; x < 999.5 {
			return fmt.Sprintf("%.3g%c", x, units[i])
		}
	}
	return fmt.Sprint(n)
}

func rttText(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3gms", float64(d)/float64(time.Millisecond))
}
