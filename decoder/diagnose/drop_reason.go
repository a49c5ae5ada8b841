// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// meaning is what a drop for some of the kernel's reasons means, where no deeper proof says more.
type meaning struct {
	reasons   []string // by the kernel's names
	prefix    string   // of reasons that newer kernels, or subsystems, have besides
	functions []string // that drop for nothing else where the kernel gives no reason
	id        string
	title     string // one sentence; see State.filler
	cause     string
	remedy    func(scene) []event.Remedy
	harm      harm
	sure      event.Confidence         // certain if there is none
	subject   func(event.Event) string // nil: the place, and for kernel-drop the reason
}

// harm is what such drops are to who sends.
type harm uint8

const (
	elsewhere  harm = iota // other rules conclude from them, or they are no loss
	normal                 // sound networks have them: information, and from a good number on
	congestion             // how senders learn of a full queue: the share that is dropped decides
	faulty                 // never right; but one, or a handful of very many, does no harm
	loss                   // each is one
)

// ReasonsKnown returns the kernel's reasons that have a meaning here, or are no loss.
func ReasonsKnown() []string {
	var known []string
	for _, m := range meanings() {
		known = append(known, m.reasons...)
	}
	return known
}

// meaningOf returns what a drop at a place means. The queue of a device without a carrier drops all, whatever is listed as its.
func (st *State) meaningOf(e event.Event, d event.Drop) meaning {
	m := st.meaning(d)
	if m.prefix == queuePrefix && st.queues.noCarrier(e.Netns, e.Ifindex) {
		return st.meaning(event.Drop{Reason: reasonNotReady})
	}
	return m
}

// meaning returns what a reason means. One that is not in the table stands for itself; of a function that gives
// no reason no more is known than its name.
func (st *State) meaning(d event.Drop) meaning {
	i := slices.IndexFunc(st.meanings, func(m meaning) bool {
		if d.Unexplained() {
			return slices.Contains(m.functions, d.Location)
		}
		return slices.Contains(m.reasons, d.Reason)
	})
	if i < 0 && !d.Unexplained() {
		i = slices.IndexFunc(st.meanings, func(m meaning) bool { return m.prefix != "" && strings.HasPrefix(d.Reason, m.prefix) })
	}
	if i >= 0 {
		return st.meanings[i]
	}
	m := meaning{
		id: kernelDrop, harm: faulty,
		title: "The kernel drops packets to {dst} at {at} for a reason that ktrace has no rule for: {reason}, in {function}.",
		cause: "What the reason means is in the kernel's include/net/dropreason-core.h, and in the function that dropped them.",
		remedy: func(s scene) []event.Remedy {
			return []event.Remedy{
				s.in(run("ip -s -s link show dev %v", s.device)).Noting("which counters rise"),
				s.in(pipe(run("nstat -az"), run("grep -i -e drop -e err"))),
			}
		},
	}
	if d.Unexplained() {
		m.harm = normal
		m.title = "The kernel drops packets to {dst} at {at}, in {function}, and gives no reason."
		m.cause = "Nothing more is known than the function that dropped them."
	}
	return m
}

// kernelDrop is the finding about drops whose reason has no finding of its own.
const kernelDrop = "kernel-drop"

// byReason reports a drop by the reason that the kernel gives, how bad by what is lost.
func byReason(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	m := st.meaningOf(e, d)
	if m.harm == elsewhere || d.Noise != "" || d.NoSocket() || isTTLExceeded(e, d) || d.Answer != nil && d.Answer.Name == "tcp-reset" {
		return event.Finding{}, false
	}
	fill := st.filler(e, d)
	f := event.Finding{ID: m.id, Confidence: cmp.Or(m.sure, event.Certain), Subject: st.subjectOf(e, d, m), Title: fill.Replace(m.title), Cause: fill.Replace(m.cause)}
	f.Remedy = m.remedy(st.scene(e, d))
	t := st.drops.of(e, d)
	f.Severity = t.severity(m.harm, st.shareLost(e, t))
	f.Evidence = st.lostEvidence(e, d, t)
	if d.ForgedBy != "" && f.Confidence == event.Certain {
		f.Confidence = event.Likely
		f.Evidence = append(f.Evidence, d.ForgedBy+" sends forged packets of the same flow, which may be why")
	}
	if by, judged := st.policyPlugins.Get(e.Netns); judged && strings.Contains(m.title, "{judge}") {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the rules of %s are in netns %d; its program judges packets by network policies", by, e.Netns))
	}
	return f, true
}

// scene is what the commands of a meaning are about.
type scene struct {
	dst    netip.Addr
	device string
	netns  uint32 // to enter, 0 for none
	cgroup string // the directory of the one whose program it is, "" if that is not known
}

// scene is that of a drop.
func (st *State) scene(e event.Event, d event.Drop) scene {
	p, _ := st.onlyProgram(e, d)
	return scene{dst: e.Packet.Dst, device: orLo(e.Iface), netns: st.enter(e.Netns), cgroup: p.Dir}
}

// in has a command run where the drop was.
func (s scene) in(r event.Remedy) event.Remedy { return r.In(s.netns) }

// is is the expression of ss(8) for sockets that have the destination at one end.
func (s scene) is(end string) string { return fmt.Sprintf("%s = %v", end, s.dst) }

// cgroupTree shows the programs of control groups: of the one, or of all.
func (s scene) cgroupTree() event.Remedy {
	if s.cgroup == "" {
		return run("bpftool cgroup tree")
	}
	return run("bpftool cgroup tree %v", s.cgroup)
}

// filler fills in what a sentence leaves open: of the packet {proto} and {dst}, of the place {at}, of the drop {reason} and
// {function}; and who did it, as far as that is known, {judge} and {program}.
func (st *State) filler(e event.Event, d event.Drop) *strings.Replacer {
	var judge, program string
	if by, ok := st.policyPlugins.Get(e.Netns); ok {
		judge = ", most likely that of " + by + ","
	}
	if p, ok := st.onlyProgram(e, d); ok {
		program = programInTitle(p)
	}
	return strings.NewReplacer("{judge}", judge, "{program}", program, "{proto}", strings.ToUpper(e.Packet.Proto), "{at}", at(e),
		"{dst}", fmt.Sprint(e.Packet.Dst), "{reason}", d.Reason, "{function}", d.Location)
}

// subjectOf is the cause that drops have in common: the control group whose program it is, else what the meaning says,
// else the place.
func (st *State) subjectOf(e event.Event, d event.Drop, m meaning) string {
	if p, ok := st.onlyProgram(e, d); ok && p.Dir != "" {
		return p.At + " of " + p.Dir
	}
	switch {
	case m.subject != nil:
		return m.subject(e)
	case m.id == kernelDrop && d.Unexplained():
		return d.Location + " at " + at(e)
	case m.id == kernelDrop:
		return d.Reason + " at " + at(e)
	}
	return at(e)
}

// trivial reports whether a drop is of those that sound networks have, and of which there are few: not worth a word
// unless the packet itself is asked about.
func (st *State) trivial(e event.Event, d event.Drop, f event.Finding) bool {
	const handful = 100
	return f.Severity == event.Info && st.meaningOf(e, d).harm == normal && f.ID == st.meaningOf(e, d).id && st.drops.of(e, d).count < handful
}

// socketOf is the address of the socket that a packet was for, as the rules about sockets name it.
func socketOf(e event.Event) string {
	return fmt.Sprintf("%s %v", e.Packet.Proto, e.Packet.Destination())
}

// serverOf is the address that a packet was for, as the rules about connections name it.
func serverOf(e event.Event) string { return e.Packet.Destination().String() }
