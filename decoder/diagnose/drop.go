// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Drops is the rule for packets that the kernel threw away: what a drop proves, with what is known of the node. It
// wants event.Drop as the stage of stage.NewDrops completes it.
type Drops struct {
	state   *State
	pending *pending
}

// NewDrops returns the rule; state must observe events before it.
func NewDrops(state *State) *Drops { return &Drops{state: state, pending: newPending()} }

// Observe implements stage.Rule.
func (r *Drops) Observe(e event.Event) []event.Finding {
	d, ok := e.Body.(event.Drop)
	if !ok || d.Noise != "" || e.Packet == nil || e.Packet.Dst.IsMulticast() && !isFilteredND(e.Packet, d) || e.Packet.IsICMPError() && !d.ByNetfilter() {
		return nil // an ICMP error that does not arrive is no cause, unless a rule dropped it
	}
	what := d.Reason + " " + d.Location
	if afterwards(e.Packet) {
		what += " RST"
	}
	r.pending.add(e, what, d.Answer != nil)
	return nil
}

// Flush implements stage.Rule.
func (r *Drops) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	expired := r.pending.expired(now, final, r.state.awaitsFacts)
	r.state.namedFirst(expired)
	for _, h := range expired {
		d := h.event.Body.(event.Drop)
		if f, ok := r.state.Proves(h.event, d); ok && !r.state.trivial(h.event, d, f) {
			f.Count, f.First, f.Last = h.count, h.first, h.last
			found = append(found, h.ignored(f))
		}
	}
	return found
}

// isFilteredND reports whether a filter dropped a solicitation or advertisement of neighbour discovery, without which
// IPv6 does not work on the link. Duplicate address detection (an unspecified source) is left out.
func isFilteredND(p *packet.Packet, d event.Drop) bool {
	return d.ByNetfilter() && !p.Src.IsUnspecified() && (p.IsICMP(noICMP, neighborSolicitation) || p.IsICMP(noICMP, neighborAdvertisement))
}

// Types of ICMPv6 (RFC 4861). noICMP is not an ICMP type that is used.
const (
	neighborSolicitation, neighborAdvertisement = 135, 136
	noICMP                                      = 255
)

// namedFirst puts packets whose rule is known before those that must be of one of these rules.
func (st *State) namedFirst(all []*pendingDrop) {
	unnamed := func(h *pendingDrop) int {
		if b, ok := st.dropRules.Get(event.KeyOf(h.event)); ok && len(b.Candidates) > 0 {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b *pendingDrop) int { return unnamed(a) - unnamed(b) })
}

// awaitsFacts reports whether the node may have more to say of a packet of that age: above all which rule dropped it, and
// where none did, what conntrack counted, which is read once a second.
func (st *State) awaitsFacts(e event.Event, age time.Duration) bool {
	if age < factsWithin || st.deferred.Pending(e, age) {
		return true
	}
	d, ok := e.Body.(event.Drop)
	if ok && isProbe(e.Packet) && (d.NoNeighbour() || d.NoWay()) && age < probedWithin {
		return true // a scan by pings goes on with other hosts
	}
	if ok && d.ByNetfilter() && age < probedWithin && opens(e.Packet) && !d.Conntrack.DNAT() && !st.scans.scans(e.Packet.Src) && st.isOutside(e) {
		return true // as will who looks for ports
	}
	b, known := st.dropRules.Get(event.KeyOf(e))
	return ok && d.ByNetfilter() && (!known || len(b.Candidates) == 0) && age < factsDeadline
}

// proof is what a drop may show.
type proof struct {
	depth
	// prove concludes from a drop; ok is false if the drop shows nothing of this cause. It fills in what is its own;
	// nothing at all if the drop follows from what another finding is about.
	prove func(*State, event.Event, event.Drop) (f event.Finding, ok bool)
}

// depth orders proofs: the first that a drop gives is the cause, what the later ones say follows from it. It is where on
// its path a packet comes to what stops it.
type depth uint8

const (
	byService      depth = iota // without DNAT, or to a backend that is gone, a packet is lost wherever it is dropped
	byTunnel                    // between nodes, whatever it carries
	byConntrack                 // no entry, or one that does not fit
	byFilter                    // a rule
	byAddress                   // that cannot be
	byNameserver                // which by a resolv.conf alone is a service's
	byHost                      // that lacks the address
	byForwarding                // which is off
	bySize                      // larger than the device takes
	byTTL                       // which is used up
	byNeighbour                 // that does not answer
	byRoute                     // that there is none
	byBridge                    // that does not send it back
	byKernelReason              // nothing else is known
)

// proofs returns those of the rows, deepest cause first.
func proofs(rows []Row) []proof {
	var all []proof
	for _, row := range rows {
		all = append(all, row.proofs...)
	}
	slices.SortStableFunc(all, func(a, b proof) int { return cmp.Compare(a.depth, b.depth) })
	return all
}

// Proves returns the deepest cause that the drop of a packet proves. The event is that of the drop, or has its packet
// and place.
func (st *State) Proves(e event.Event, d event.Drop) (event.Finding, bool) {
	for _, p := range st.proofs {
		f, ok := p.prove(st, e, d)
		if !ok {
			continue
		}
		if f.ID == "" || st.effects.explained(e, f) {
			return event.Finding{}, false
		}
		given := f.Severity != ""
		f = conclude(f, e)
		f.Severity = st.severity(f.ID, f.Severity)
		f.Evidence = append([]string{dropped(e, d)}, f.Evidence...)
		if r, ok := st.route(e, false); ok && r.Errno == "" {
			if mine, why := st.overlap(e, r.Out, e.Packet.Dst); why != "" {
				f.Evidence = append(f.Evidence, fmt.Sprintf("of the routes for it, that to %v on %s wins: %s", mine, r.Out, why))
			}
		}
		if !given && f.Severity == event.Critical && afterwards(e.Packet) { // the connection is over for its sender; who goes on is reset again
			f.Severity = event.Info
		}
		if why := st.pings.pingSweep(e.Packet); why != "" {
			f.Severity = event.Info
			f.Evidence = append(f.Evidence, why)
		}
		return f, true
	}
	return event.Finding{}, false
}

// ProvesFailure is Proves for a packet that was never answered, so that its drop was no stray one.
func (st *State) ProvesFailure(e event.Event, d event.Drop) (event.Finding, bool) {
	f, ok := st.Proves(e, d)
	if ok && f.Severity == event.Info {
		f.Severity = event.Critical
	}
	return f, ok
}

// dropped is the evidence that all have: the packet, where it died and of what.
func dropped(e event.Event, d event.Drop) string {
	s := fmt.Sprintf("%s %v dropped%s: %s in %s", e.Time.UTC().Format("15:04:05.000000"), e.Packet, event.At(e), d.Reason, d.Location)
	if d.Answer != nil {
		s += "; the answer to its sender: " + d.Answer.String()
	}
	return s
}

// target is where a packet goes to, without the port where that is another with every connection.
func target(e event.Event) string {
	q := event.KeyOf(e)
	if q.Dst.Port() == 0 {
		return fmt.Sprintf("%s %v", e.Packet.Proto, e.Packet.Dst)
	}
	return fmt.Sprintf("%s %v", e.Packet.Proto, q.Dst)
}

// at is where an event was, for the subject of what is about a place.
func at(e event.Event) string {
	if e.Iface == "" {
		return fmt.Sprintf("netns %d", e.Netns)
	}
	return fmt.Sprintf("%s in netns %d", e.Iface, e.Netns)
}

// family returns the word that sysctls and tools have for the packet's family.
func family(e event.Event) (sysctl, ip string) {
	if e.Packet.Family == "ipv6" {
		return "ipv6", "ip -6"
	}
	return "ipv4", "ip"
}
