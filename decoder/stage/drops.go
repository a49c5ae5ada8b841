// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// broadcast is that of every link.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// reasonOtherHost is the reason of what came with the MAC of another.
const reasonOtherHost = "OTHERHOST"

// Drops is the stage that completes drops: whether the packet is a loss, how its sender was answered, and which rule it
// met. It wants names, drops, ICMP errors and TCP resets at devices, DropRules, and what netfilter says itself.
type Drops struct {
	noises    []noise
	answers   bounded.Map[sentFlow, answered]
	rejects   bounded.Map[sentFlow, time.Time] // that rules made
	judged    bounded.Map[uint64, bool]        // control groups, by id, that have programs for what their sockets receive
	dropRules bounded.Map[event.LookupKey, event.DropRules]
	tunnels   map[deviceKey]bool // devices of tunnels between nodes
	verdicts  bool               // every drop by netfilter is followed by the hook's verdict
	waiting   []event.Event      // drops, for their verdict
	hasty     uint64             // of these, completed without, to make room
	gaps      event.Gaps
	heard     time.Time // of the newest record of the kernel, or of the moment when it had no more
	only      event.Single
}

// sentFlow is a flow that is answered: the answer is for its sender.
type sentFlow struct {
	proto string
	flow  packet.FlowTuple
}

type answered struct {
	event.Answer
	at time.Time
}

// answerAge is how long an answer may have been sent before its cause is dropped. The kernel answers first, and drops
// at once, unless the answer has to wait for a neighbour.
const answerAge = 2 * time.Second

// verdictWithin is how long after a packet is freed the hook may say that it was its doing. It returns at once, but
// its CPU may be an emulated one, or lent out, and be put aside meanwhile.
const verdictWithin = 500 * time.Millisecond

// maxWaiting is how many drops wait for it: of who has most of them the oldest do without.
const maxWaiting = 4096

// NewDrops returns the stage.
func NewDrops() *Drops {
	return &Drops{noises: noises(), tunnels: map[deviceKey]bool{}}
}

// Observe implements Stage.
func (x *Drops) Observe(e event.Event) []event.Event {
	if f, ok := e.Body.(event.Fact); (!ok || f == (event.Fact{})) && e.Time.After(x.heard) {
		x.heard = e.Time // other facts may come long before what the ring holds meanwhile
	}
	x.gaps.Learn(e)
	switch b := e.Body.(type) {
	case event.Fact:
		x.learn(b)
	case event.Hop:
		x.hop(e)
	case event.Netfilter:
		return x.netfilter(e, b)
	case event.Drop:
		if x.verdicts && b.ByNetfilter() && e.Packet != nil {
			x.waiting = append(x.waiting, e)
			if len(x.waiting) >= maxWaiting {
				return x.makeRoom()
			}
			return nil
		}
		e.Body = x.complete(e, b)
	}
	return x.only.Event(e)
}

// learn takes in what is known of the node.
func (x *Drops) learn(f event.Fact) {
	if inode, ok := f.ReplacedNetns(); ok {
		x.dropRules.DeleteFunc(func(k event.LookupKey) bool { return k.Netns == inode })
		maps.DeleteFunc(x.tunnels, func(k deviceKey, _ bool) bool { return k.netns == inode })
	}
	switch {
	case f.DropRules != nil:
		x.dropRules.Put(f.DropRules.About, *f.DropRules)
	case f.Program != nil && f.Program.At == event.AtCgroupIngress:
		x.judged.Put(f.Program.Cgroup, true)
	case f.Node != nil:
		x.verdicts = f.Node.Verdicts
	case f.Device != nil && f.Device.Tunnels():
		if len(x.tunnels) >= bounded.MapSize {
			clear(x.tunnels)
		}
		x.tunnels[deviceKey{f.Device.Netns, f.Device.Ifindex}] = true
	}
}

// Flush implements Stage.
func (x *Drops) Flush(_ time.Time, final bool) []event.Event {
	n := slices.IndexFunc(x.waiting, func(e event.Event) bool { return !final && x.heard.Sub(e.Time) <= verdictWithin })
	if n < 0 {
		n = len(x.waiting)
	}
	return x.finishFirst(n)
}

// makeRoom completes the older half of those that one sender has, without a verdict; of senders that are many, half of all.
func (x *Drops) makeRoom() []event.Event {
	of, most := map[bounded.Owner]int{}, bounded.Owner{}
	for _, e := range x.waiting {
		o := event.OwnerOf(e)
		if of[o]++; of[o] > of[most] {
			most = o
		}
	}
	left := (of[most] + 1) / 2
	if few := maxWaiting / 64; left < few {
		x.hasty += maxWaiting / 2
		return x.finishFirst(maxWaiting / 2)
	}
	x.hasty += uint64(left)
	var done []event.Event
	x.waiting = slices.DeleteFunc(x.waiting, func(e event.Event) bool {
		if left == 0 || event.OwnerOf(e) != most {
			return false
		}
		left--
		done = append(done, x.finish(e, event.Netfilter{}))
		return true
	})
	return done
}

// Summarize implements event.Summarizer.
func (x *Drops) Summarize(s *event.Summary) {
	s.AddEvicted("drops without the hook's verdict", x.hasty)
}

// finishFirst completes so many of those that wait, the oldest, without a verdict.
func (x *Drops) finishFirst(n int) []event.Event {
	var late []event.Event
	for _, e := range x.waiting[:n] {
		late = append(late, x.finish(e, event.Netfilter{}))
	}
	x.waiting = slices.Delete(x.waiting, 0, n)
	return late
}

// netfilter keeps what a rule answers, and completes the drop that a verdict is about.
func (x *Drops) netfilter(e event.Event, n event.Netfilter) []event.Event {
	about := sentFlow{e.Packet.Proto, e.Packet.Flow()}
	switch n.Op {
	case event.NetfilterRejected:
		x.rejects.Put(about, e.Time)
		x.answers.Put(about, answered{event.Answer{Name: n.Answer}, e.Time}) // who answers shows when the answer leaves
	case event.NetfilterVerdict:
		for i := len(x.waiting) - 1; i >= 0; i-- {
			if w := x.waiting[i]; w.Packet.Proto == about.proto && w.Packet.Flow() == about.flow {
				x.waiting = slices.Delete(x.waiting, i, i+1)
				return []event.Event{x.finish(w, n), e}
			}
		}
	}
	return x.only.Event(e)
}

// finish completes a drop that waited.
func (x *Drops) finish(e event.Event, n event.Netfilter) event.Event {
	d := e.Body.(event.Drop)
	d.Hook = n.Hook
	e.Body = x.complete(e, d)
	return e
}

// hop keeps ICMP errors and resets, which answer the sender of a packet that is dropped.
func (x *Drops) hop(e event.Event) {
	p := e.Packet
	if p == nil {
		return
	}
	if about := p.Quoted(); about != nil && !p.IsICMP(packet.ICMPRedirect, 0) { // a redirected packet was passed on
		a := event.Answer{Name: p.ICMPName(), From: p.Src}
		a.MTU, _ = p.TooBig()
		x.answers.Put(sentFlow{about.Proto, about.Flow()}, answered{a, e.Time})
		return
	}
	if p.Proto == "tcp" && p.HasFlag('R') && e.Direction == event.Out {
		x.answers.Put(sentFlow{p.Proto, p.Flow().Reverse()}, answered{event.Answer{Name: event.AnswerReset, From: p.Src}, e.Time})
	}
}

// complete fills in a drop from the packets around it.
func (x *Drops) complete(e event.Event, d event.Drop) event.Drop {
	d.Noise = x.noiseOf(e, d)
	if d.Noise != "" || e.Packet == nil {
		return d
	}
	if d.Answer = x.answerTo(e, d); d.Answer == nil {
		if gap, lossy := x.gaps.Within(e.Time.Add(-answerAge), e.Time.Add(verdictWithin)); lossy {
			d.Lost = &gap
		}
	}
	if !d.ByNetfilter() {
		return d
	}
	switch {
	case d.Answer != nil:
		d.Verdict = event.VerdictReject
	case d.Lost == nil:
		d.Verdict = event.VerdictDrop
	}
	rejected, ok := x.rejects.Get(sentFlow{e.Packet.Proto, e.Packet.Flow()})
	d.Rejected = ok && e.Time.Sub(rejected) <= answerAge
	rules, _ := x.dropRules.Get(event.KeyOf(e))
	if b := rules.At(d.Hook); len(b.Candidates) > 0 && b.Confidence != event.Possible {
		d.Netfilter = &b.Candidates[0].RuleFact
	} else if d.Hook != "" {
		d.Netfilter = &event.RuleFact{Family: e.Packet.Family, Hook: d.Hook, Verdict: d.Verdict}
	}
	return d
}

// answerTo finds how the sender was answered, by the packet's addresses as they are and as they were.
func (x *Drops) answerTo(e event.Event, d event.Drop) *event.Answer {
	flows := []packet.FlowTuple{e.Packet.Flow()}
	if c := d.Conntrack; c != nil {
		flows = append(flows, c.Original, c.Reply)
	}
	for _, f := range flows {
		a, ok := x.answers.Get(sentFlow{e.Packet.Proto, f})
		fits := a.MTU != 0 && e.Packet.Len <= a.MTU // it was another packet of the flow that was too big
		if ok && !fits && e.Time.Sub(a.at) <= answerAge {
			return &a.Answer
		}
	}
	return nil
}
