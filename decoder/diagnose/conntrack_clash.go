// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// conntrackRefused reports whether conntrack itself dropped the packet because it did not take its flow in: the drop is
// netfilter's, no rule is for it, and conntrack counted it; or it says so.
func conntrackRefused(st *State, e event.Event, d event.Drop) (lost *event.Conntrack, ok bool) {
	s, _ := st.conntrack.Get(e.Netns)
	n, said := st.netfilterEvent(netfilterKeyOf(event.NetfilterRefused, e), d.Conntrack)
	if !d.ByNetfilter() || d.Conntrack.Confirmed() {
		return nil, false
	}
	if said && n.Lost != nil {
		return n.Lost, true
	}
	return nil, s.Rose.InsertFailed > 0 && noRuleFor(st, e, d)
}

// portsExhausted reports a new flow for which source translation has no port left: it takes one that another flow has, and
// conntrack does not take it in.
func portsExhausted(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	use, ok := st.ports.Get(event.KeyOf(e))
	lost, clash := conntrackRefused(st, e, d)
	const enough = 90 // per cent; the kernel tries no more than some hundred ports of a large range
	if !ok || !clash || use.Used*100 < use.Size()*enough {
		return event.Finding{}, false
	}
	proto := e.Packet.Proto
	f := event.Finding{
		ID: "ports-exhausted", Confidence: event.Certain, Subject: fmt.Sprintf("%s ports %d-%d of %v to %v", proto, use.Low, use.High, use.Source, use.Server),
		Title: fmt.Sprintf("No port is left for source translation to %s %v: %d of %d are in use, so new connections are dropped.", proto, use.Server, use.Used, use.Size()),
		Cause: fmt.Sprintf("Connections to one server leave as %v, each from a port of its own. With all of them in use a new one gets a port that another has, "+
			"and conntrack drops it; the client tries again and fails until connections end.", use.Source),
		Evidence: []string{fmt.Sprintf("ports %d to %d of %v; conntrack has entries to %v for %d of the %d", use.Low, use.High, use.Source, use.Server, use.Used, use.Size())},
		Remedy: []event.Remedy{
			most(pipe(run("conntrack -L -p %v --reply-src %v --reply-dst %v", proto, use.Server.Addr(), use.Source), run("awk %v", "{print $4,$5,$6}"))).
				In(st.enter(e.Netns)).Noting("who has them, in what state"),
			run("sysctl " + portTimeout(proto)).In(st.enter(e.Netns)).Noting("how long a port stays taken"),
			do("let clients keep connections open and use them again, or close them"),
			do("give the rule more ports (--to-ports), or more source addresses (SNAT)"),
		},
	}
	if use.Rule != nil {
		f.Evidence = append(f.Evidence, "the rule: "+use.Rule.String())
		f.Remedy = slices.Insert(f.Remedy, 0, see(*use.Rule).In(st.enter(e.Netns)))
	} else {
		f.Confidence = event.Likely // what gave it its port is not known, so neither is from where
	}
	if lost == nil && st.unread(e) {
		f.Confidence = event.Likely
		f.Evidence = append(f.Evidence, notInTime)
	}
	f.Evidence = append(f.Evidence, "conntrack entry that was not inserted: "+d.Conntrack.String())
	if s, _ := st.conntrack.Get(e.Netns); s.Rose.InsertFailed > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack counted %s, %s", insertions(s.Rose.InsertFailed), st.noRule(e, d)))
	}
	return f, true
}

// portTimeout is the setting for how long an entry without traffic keeps its port.
func portTimeout(proto string) line {
	if proto == "tcp" {
		return "net.netfilter.nf_conntrack_tcp_timeout_time_wait"
	}
	return "net.netfilter.nf_conntrack_udp_timeout"
}

// insertRace reports a packet that lost against another when conntrack took its flow in. The other must be known: one of
// the same flow that was on its way at the same time, or of a flow that had got the same source port a moment before.
func insertRace(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	lost, clash := conntrackRefused(st, e, d)
	if !clash {
		return event.Finding{}, false
	}
	own := e.Packet.Flow()
	if d.Conntrack != nil {
		own = d.Conntrack.Original
	}
	f := event.Finding{ID: "conntrack-insert-race", Confidence: event.Likely}
	other, twice := st.effects.concurrent(e, natFlow{e.Packet.Proto, own})
	first, ported := st.portTaken(e, d)
	switch {
	case lost != nil:
		f.Confidence = event.Certain
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack did not insert it: %v was there first, %v", lost.Original, lost))
		twice = lost.Original == own
	case twice:
		f.Evidence = append(f.Evidence, fmt.Sprintf("another packet of %v was on its way at the same time, seen %s", own, other.UTC().Format("15:04:05.000000")))
	case ported:
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v had got the same port: %v", first.original, d.Conntrack))
	default:
		return event.Finding{}, false
	}
	if lost == nil && st.unread(e) {
		f.Confidence = event.Possible
		f.Evidence = append(f.Evidence, notInTime)
	}
	f.Subject = racer(e, d, own, twice)
	st.raced(&f, e, twice)
	s, _ := st.conntrack.Get(e.Netns)
	if s.Rose.InsertFailed > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack counted %s, %s", insertions(s.Rose.InsertFailed), st.noRule(e, d)))
	}
	if s.Rose.ClashResolve > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack settled %d more clashes without loss", s.Rose.ClashResolve))
	}
	return f, true
}

// racer is what makes the packets race: clients of a UDP server that send two at once from one socket, as resolvers do; the
// source translation that gives two flows one port; or what else lets packets of one flow overtake each other.
func racer(e event.Event, d event.Drop, own packet.FlowTuple, twice bool) string {
	switch {
	case twice && e.Packet.Proto == "udp":
		return "udp " + own.Dst.String()
	case !twice && d.Conntrack.SNAT():
		return fmt.Sprintf("source translation to %v in netns %d", d.Conntrack.Reply.Dst.Addr(), e.Netns)
	}
	return tracker(e.Netns)
}

// portTaken finds the flow that, a moment before, got the same port by source translation as the one that was lost.
func (st *State) portTaken(e event.Event, d event.Drop) (snatFlow, bool) {
	const moment = 100 * time.Millisecond
	if !d.Conntrack.SNAT() {
		return snatFlow{}, false
	}
	t, ok := st.effects.snatReplies.Get(natFlow{e.Packet.Proto, d.Conntrack.Reply})
	return t, ok && t.original != d.Conntrack.Original && e.Time.Sub(t.at).Abs() <= moment
}

// raced says what raced: two packets of one flow, or two flows for one port.
func (st *State) raced(f *event.Finding, e event.Event, twice bool) {
	f.Title = fmt.Sprintf("Two packets of one new flow to %s raced through connection tracking, and one was dropped.", target(e))
	f.Cause = "Both passed before conntrack had confirmed the flow. It confirms a flow once: the last packet is dropped."
	f.Remedy = []event.Remedy{conntrackCounter("insert_failed").In(st.enter(e.Netns))}
	switch {
	case !twice:
		f.Title = fmt.Sprintf("Two new flows to %s got the same source port by translation, and one was dropped.", target(e))
		f.Cause = "Both got a port before conntrack had confirmed either. The packet that comes last is dropped and must be sent again."
		f.Remedy = append(f.Remedy,
			pipe(run(forFamily(e.Packet.Dst, "iptables-save -t nat")), run("grep -e MASQUERADE -e SNAT")).In(st.enter(e.Netns)).Noting("has the rule --random-fully?"),
			pipe(run("nft list ruleset"), run("grep -e masquerade -e snat")).In(st.enter(e.Netns)).Noting("has the rule fully-random?"),
			do("let the rule pick ports at random, or give it more of them"))
	case e.Packet.Proto == "udp":
		f.Cause += " Resolvers that send A and AAAA at once from one socket run into it, and wait 5 s."
		f.Remedy = append(f.Remedy, systemPods("node-local-dns").Noting("does a DNS cache run on the node?"),
			do("use such a cache, or options single-request-reopen in resolv.conf"))
	}
}
