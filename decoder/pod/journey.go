package pod

import "ktrace/decoder"

// journeys are what is known of packets on their way, the last few thousand.
type journeys[T any] struct{ young, old map[uint64]T }

// maxJourneys is how many may be young; a packet's way takes milliseconds, seconds if it waits for a neighbour.
const maxJourneys = 8192

func (j *journeys[T]) add(id uint64, what T) {
	if id == 0 {
		return
	}
	if j.young == nil || len(j.young) >= maxJourneys {
		j.old, j.young = j.young, map[uint64]T{}
	}
	j.young[id] = what
}

func (j *journeys[T]) get(id uint64) T {
	if what, ok := j.young[id]; ok {
		return what
	}
	return j.old[id]
}

// follow names the sender of a packet that has another's address by now: the node's, if it was masqueraded, or one that
// nobody could tell in time. p is whose the place is where it was seen, nil for nobody's.
func (x *Index) follow(e *decoder.Event, sender *decoder.Pod, p *Info) {
	known := x.senders.get(e.Journey)
	switch {
	case sender.UID == "" && sender.Service == "" && known.UID != "":
		*sender = known
		sender.Source = sourceJourney
	case sender.UID != "" && known.UID == "" && (p == nil || sender.UID != p.UID || x.sentItself(e, p)):
		x.senders.add(e.Journey, *sender)
	}
}

// sentItself reports whether a packet on its way from a pod is its own, and not one that it passes on for others.
func (x *Index) sentItself(e *decoder.Event, p *Info) bool {
	return e.Pod.Source == sourceCgroup || len(p.Addrs) == 0 || x.addrs[e.Packet.Src.Unmap()].heldBy(p)
}
