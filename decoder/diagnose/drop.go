package diagnose

import (
	"fmt"
	"slices"
	"time"

	"ktrace/decoder"
)

// Drops is the rule for packets that the kernel threw away: what a drop proves, with what is known of the node. It
// wants decoder.Drop as the stage of decoder.NewDrops completes it.
type Drops struct {
	know *Facts
	held map[held]*holding
}

// held is what drops have in common that have one cause.
type held struct {
	about            decoder.Question
	reason, location string
}

type holding struct {
	event decoder.Event // the first, or the first whose sender was told
	first time.Time
	last  time.Time
	count uint64
}

// How long the node may take to say what a drop has to do with. It is asked at most every half second, and on a busy
// node, where asking is put off, later.
const (
	factsWithin = 700 * time.Millisecond
	factsAtLast = 4 * time.Second
)

// NewDrops returns the rule; know must be asked before it.
func NewDrops(know *Facts) *Drops { return &Drops{know, map[held]*holding{}} }

// Observe implements decoder.Rule.
func (r *Drops) Observe(e decoder.Event) []decoder.Finding {
	d, ok := e.Body.(decoder.Drop)
	if !ok || d.Noise != "" || e.Packet == nil || e.Packet.Dst.IsMulticast() || e.Packet.IsICMPError() && !d.ByNetfilter() {
		return nil // that an error does not arrive is no cause, unless somebody wanted it
	}
	key := held{decoder.Ask(e), d.Reason, d.Location}
	h := r.held[key]
	if h == nil {
		h = &holding{event: e, first: e.Time}
		r.held[key] = h
	}
	if h.event.Body.(decoder.Drop).Answer == nil && d.Answer != nil {
		h.event = e // what is told of one of them is true of all
	}
	h.count++
	h.last = e.Time
	return nil
}

// Flush implements decoder.Rule.
func (r *Drops) Flush(now time.Time, final bool) []decoder.Finding {
	var found []decoder.Finding
	for key, h := range r.held {
		if !final && r.know.mayLearn(h.event, now.Sub(h.first)) {
			continue
		}
		delete(r.held, key)
		if f, ok := r.know.Proves(h.event, h.event.Body.(decoder.Drop)); ok {
			f.Count, f.First, f.Last = h.count, h.first, h.last
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b decoder.Finding) int { return a.First.Compare(b.First) })
	return found
}

// mayLearn reports whether the node may have more to say of a drop of that age: above all which rule it was.
func (k *Facts) mayLearn(e decoder.Event, age time.Duration) bool {
	_, told := k.blames[decoder.Ask(e)]
	d, ok := e.Body.(decoder.Drop)
	return age < factsWithin || ok && d.ByNetfilter() && !told && age < factsAtLast
}

// proof concludes from a drop; ok is false if the drop proves nothing to it. It fills in what is its own.
type proof func(*Facts, decoder.Event, decoder.Drop) (f decoder.Finding, ok bool)

// proofs are in the order of depth: what is a consequence of another comes behind it.
func proofs() []proof {
	return []proof{
		noEndpoints, missedService, invalid, tableFull, insertRace, filtered,
		martian, reversePath, forwardingOff, tooBig, hopLimit, noNeighbour, noRoute,
	}
}

// Proves returns the deepest cause that the drop of a packet proves. The event is that of the drop, or has its packet
// and place.
func (k *Facts) Proves(e decoder.Event, d decoder.Drop) (decoder.Finding, bool) {
	for _, prove := range proofs() {
		f, ok := prove(k, e, d)
		if !ok {
			continue
		}
		f.Time, f.First, f.Last, f.Count = e.Time, e.Time, e.Time, 1
		f.Pod, f.Peer = e.Pod, e.Peer
		f.Evidence = append([]string{dropped(e, d)}, f.Evidence...)
		if f.Severity == "" {
			f.Severity = decoder.Critical
		}
		return f, true
	}
	return decoder.Finding{}, false
}

// dropped is the evidence that all have: the packet, where it died and of what.
func dropped(e decoder.Event, d decoder.Drop) string {
	s := fmt.Sprintf("%s %v dropped at %s: %s in %s", e.Time.UTC().Format("15:04:05.000000"), e.Packet, decoder.Place(e), d.Reason, d.Location)
	if d.Answer != nil {
		s += "; its sender was told " + d.Answer.String()
	}
	return s
}

// target is where a packet goes to, without the port where that is another with every connection.
func target(e decoder.Event) string {
	q := decoder.Ask(e)
	if q.Dst.Port() == 0 {
		return fmt.Sprintf("%s %v", e.Packet.Proto, e.Packet.Dst)
	}
	return fmt.Sprintf("%s %v", e.Packet.Proto, q.Dst)
}

// at is where an event was, for the subject of what is about a place.
func at(e decoder.Event) string {
	if e.Iface == "" {
		return fmt.Sprintf("netns %d", e.Netns)
	}
	return fmt.Sprintf("%s in netns %d", e.Iface, e.Netns)
}

// family returns the word that sysctls and tools have for the packet's family.
func family(e decoder.Event) (sysctl, ip string) {
	if e.Packet.Family == "ipv6" {
		return "ipv6", "ip -6"
	}
	return "ipv4", "ip"
}
