package decoder

import (
	"net/netip"
	"time"
)

// broadcast is that of every link.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// reasonNetfilter is the reason of whatever a hook of netfilter threw away.
const reasonNetfilter = "NETFILTER_DROP"

// reasonNoSocket is the reason of what nobody was there to take.
const reasonNoSocket = "NO_SOCKET"

// Drops is the stage that completes drops: whether the packet is a loss, what its sender was told, and which rule it
// met. It wants names, drops, ICMP errors and TCP resets at devices, and Blame.
type Drops struct {
	noises  []noise
	answers map[told]answered
	blames  map[Question]Blame
	swept   time.Time
	only    Only
}

// told is whom an answer is for: the sender of this flow.
type told struct {
	proto string
	flow  FlowTuple
}

type answered struct {
	Answer
	at time.Time
}

// answerAge is how long an answer may have been sent before its cause is dropped. The kernel answers first, and drops
// at once, unless the answer has to wait for a neighbour.
const answerAge = 2 * time.Second

// NewDrops returns the stage.
func NewDrops() *Drops {
	return &Drops{noises: noises(), answers: map[told]answered{}, blames: map[Question]Blame{}}
}

// Observe implements Stage.
func (x *Drops) Observe(e Event) []Event {
	switch b := e.Body.(type) {
	case Fact:
		if b.Blame != nil {
			x.blames[b.Blame.About] = *b.Blame
		}
	case Hop:
		x.hop(e)
	case Drop:
		e.Body = x.complete(e, b)
	}
	return x.only.Event(e)
}

// Flush implements Stage.
func (x *Drops) Flush(now time.Time, _ bool) []Event {
	if now.Sub(x.swept) < answerAge {
		return nil
	}
	x.swept = now
	for k, a := range x.answers {
		if now.Sub(a.at) > answerAge {
			delete(x.answers, k)
		}
	}
	return nil
}

// hop keeps what tells a sender that its packet did not arrive.
func (x *Drops) hop(e Event) {
	p := e.Packet
	if p == nil {
		return
	}
	if about := p.About(); about != nil && !p.IsICMP(icmpRedirect, 0) { // a redirected packet was passed on
		a := Answer{Name: p.ICMPName(), From: p.Src}
		a.MTU, _ = p.TooBig()
		x.answers[told{about.Proto, about.Flow()}] = answered{a, e.Time}
		return
	}
	if p.Proto == "tcp" && p.HasFlag('R') && e.Direction == Out {
		x.answers[told{p.Proto, p.Flow().Reverse()}] = answered{Answer{Name: "tcp-reset", From: p.Src}, e.Time}
	}
}

// complete fills in what the packets around tell of a drop.
func (x *Drops) complete(e Event, d Drop) Drop {
	d.packet, d.place = e.Packet, Place(e)
	d.Noise = x.noiseOf(e.Packet, d)
	if d.Noise != "" || e.Packet == nil {
		return d
	}
	d.Answer = x.answerTo(e, d)
	if !d.ByNetfilter() {
		return d
	}
	d.Verdict = VerdictDrop
	if d.Answer != nil {
		d.Verdict = VerdictReject
	}
	if b, ok := x.blames[Ask(e)]; ok && len(b.Suspects) > 0 && b.Confidence != Possible {
		d.Netfilter = &b.Suspects[0].RuleFact
	}
	return d
}

// answerTo finds what the sender was told, by the packet's addresses as they are and as they were.
func (x *Drops) answerTo(e Event, d Drop) *Answer {
	flows := []FlowTuple{e.Packet.Flow()}
	if c := d.Conntrack; c != nil {
		flows = append(flows, c.Original, c.Reply)
	}
	for _, f := range flows {
		if a, ok := x.answers[told{e.Packet.Proto, f}]; ok && e.Time.Sub(a.at) <= answerAge {
			return &a.Answer
		}
	}
	return nil
}
