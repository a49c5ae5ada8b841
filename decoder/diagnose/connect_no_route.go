package diagnose

import (
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder"
)

// Senders is the rule for connects that fail before there is a packet: it wants what sockets report, and the routes
// that the node was asked for.
type Senders struct {
	know   *Facts
	held   holds
	latest decoder.Recent[failing, time.Time]
}

// failing is a connect that fails. The kernel may look for its route more than once: for a source address, and then from it.
type failing struct {
	tid uint32
	to  netip.AddrPort
}

// sameCall is how far apart the lookups of one connect are at most.
const sameCall = time.Millisecond

// NewSenders returns the rule; know must be asked before it.
func NewSenders(know *Facts) *Senders { return &Senders{know: know, held: holds{}} }

// Observe implements decoder.Rule.
func (r *Senders) Observe(e decoder.Event) []decoder.Finding {
	if s, ok := e.Body.(decoder.Sock); ok && s.Op == decoder.SockNoRoute && e.Packet != nil && !r.again(e) {
		r.held.add(e, string(s.Op), false)
	}
	return nil
}

// again reports whether the connect was seen to look for a route already.
func (r *Senders) again(e decoder.Event) bool {
	call := failing{e.TID, e.Packet.Destination()}
	before, seen := r.latest.Get(call)
	r.latest.Put(call, e.Time)
	return seen && e.TID != 0 && e.Time.Sub(before) < sameCall
}

// Flush implements decoder.Rule.
func (r *Senders) Flush(now time.Time, final bool) []decoder.Finding {
	var found []decoder.Finding
	unasked := func(e decoder.Event, age time.Duration) bool { // a busy node is asked late
		_, told := r.know.route(e, false)
		return age < factsWithin || !told && age < factsAtLast
	}
	for _, h := range r.held.ripe(now, final, unasked) {
		if f, ok := r.know.unreachable(h.event); ok {
			f = f.Of(h.event)
			f.Pod, f.Peer = h.event.Ends()
			f.Time, f.First, f.Last, f.Count, f.Severity = now, h.first, h.last, h.count, decoder.Critical
			if f.ID == "no-route" && mayFallBack(h.event.Packet.Dst) {
				f.Severity = decoder.Info
			}
			found = append(found, f)
		}
	}
	return found
}

// mayFallBack reports whether programs try an address though they know it for one that may have no way: IPv6 of the
// Internet, before IPv4. A local one (RFC 4193) they were given on purpose.
func mayFallBack(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsPrivate() && !a.IsLinkLocalUnicast()
}

// unreachable concludes from a connect and from what the kernel says of its route.
func (k *Facts) unreachable(e decoder.Event) (decoder.Finding, bool) {
	r, ok := k.route(e, false)
	if !ok || r.Errno == "" {
		return decoder.Finding{}, false
	}
	to := e.Packet.Destination()
	_, ip := family(e)
	f := decoder.Finding{
		ID: "no-route", Confidence: decoder.Certain, Subject: k.routesThatLack(e, ""),
		Title: fmt.Sprintf("%s/%d cannot reach %v: its network namespace has no route there.", e.Comm, e.PID, to),
		Cause: "The kernel found no way before it made a packet, so the system call failed at once; nothing left the sender.",
		Evidence: []string{
			fmt.Sprintf("%s connect by %s/%d in netns %d to %v", e.Time.UTC().Format("15:04:05.000000"), e.Comm, e.PID, e.Netns, to),
			"route lookup: " + way(r),
		},
		Remedy: []string{fmt.Sprintf("nsenter -t %d -n %s route get %v", e.PID, ip, to.Addr()), fmt.Sprintf("nsenter -t %d -n %s route show table all", e.PID, ip)},
	}
	for _, d := range k.devicesOf(e.Netns) {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s, %s", d.Name, addresses(d)))
	}
	s, known := k.ServiceAt(e.Netns, e.Packet.Proto, to)
	if !known {
		return f, true
	}
	f.ID = "service-no-route"
	f.Title = fmt.Sprintf("%s/%d cannot connect to %s: its network namespace has no route there, so no rule could translate it.",
		e.Comm, e.PID, called(s, decoder.ServiceRules{}, to))
	f.Evidence = append(f.Evidence, source(s))
	return f, true
}
