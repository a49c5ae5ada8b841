// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Resets is the rule for connections that end, or never begin, by a reset. It wants event.Reset.
//
// How bad it is: a reset loses data or a connection that is still needed, or it is how many programs close. A refused
// connection is information until it goes on for a while, since servers restart, and while the server's pod is new; so is
// a reset of a connection that its other end had closed already, one of a connection that carried nothing (health checks
// close like that), and one by a process that was asked to end. What clients reset as they close, when all is said, is one
// finding for all of them.
type Resets struct {
	state       *State
	reportDrops bool // no other rule concludes from drops
	refused     *bounded.Table[netip.AddrPort, *refusals]
	scans       bounded.Map[scan, int] // how many ports refused
	dropRules   bounded.Map[event.LookupKey, event.DropRules]
}

type refusals struct {
	count       uint64
	first, last time.Time
	scanned     bool // it is one of many ports of a host, which are one cause
}

// scan is a client that tries ports of a host.
type scan struct{ client, server netip.Addr }

const (
	refusedOften = 3           // refusals in a row that are more than a restart
	refusedLong  = time.Second // and over this time at least
	forgetAfter  = time.Minute // without another
	portScan     = 16          // closed ports of a host that a client tries; those after it are one cause
	maxRefused   = 1 << 14     // servers, of which a scan makes up many
	idleLong     = time.Minute // after which middle boxes and servers may have forgotten a connection
)

// NewResets returns the rule; state must observe events before it. reportDrops says that no other rule concludes from drops.
func NewResets(state *State, reportDrops bool) *Resets {
	return &Resets{state: state, reportDrops: reportDrops, refused: bounded.NewTable[netip.AddrPort, *refusals](maxRefused)}
}

// Observe implements stage.Rule.
func (r *Resets) Observe(e event.Event) []event.Finding {
	switch b := e.Body.(type) {
	case event.Fact:
		if inode, ok := b.ReplacedNetns(); ok {
			r.dropRules.DeleteFunc(func(k event.LookupKey) bool { return k.Netns == inode })
		}
		if b.DropRules != nil {
			r.dropRules.Put(b.DropRules.About, *b.DropRules)
		}
	case event.Hop:
		if r.refused.Len() > 0 && e.Packet != nil && e.Packet.HasFlag('S') && e.Packet.HasFlag('.') {
			r.refused.Delete(e.Packet.Source()) // a server listens there by now
		}
	case event.Reset:
		return r.reset(e, b)
	}
	return nil
}

// Flush implements stage.Rule.
func (r *Resets) Flush(now time.Time, _ bool) []event.Finding {
	for to, seen := range r.refused.All() {
		if now.Sub(seen.last) > forgetAfter {
			r.refused.Delete(to)
		}
	}
	return nil
}

func (r *Resets) reset(e event.Event, b event.Reset) []event.Finding {
	if b.Answer != nil {
		return r.rejected(e, b)
	}
	conclude := map[event.ResetCause]func(event.Event, event.Reset, *event.Finding){
		event.ResetRefused:       r.connectionRefused,
		event.ResetStale:         r.stale,
		event.ResetUnread:        byApplication,
		event.ResetDataAfterExit: byApplication,
		event.ResetLinger:        byApplication,
		event.ResetKilled:        byApplication,
		event.ResetExited:        byApplication,
		event.ResetDisconnected:  byApplication,
		event.ResetRejected:      r.byFirewall,
		event.ResetForged:        byMiddlebox,
		event.ResetOverflow:      r.overflow,
		event.ResetUnknown:       r.fromElsewhere,

		event.ResetOlder:        older,
		event.ResetUntranslated: r.untranslated,
	}[b.Cause]
	if conclude == nil {
		return nil
	}
	f := event.Finding{
		Time: e.Time, First: e.Time, Last: e.Time, Count: 1,
		Confidence: event.Certain,
		Evidence:   []string{packets(b)},
		Hits:       []event.Hit{hitBy(e, b)},
		Recorded:   b.Sent != nil || b.Drop != nil || b.Sender == event.SenderMiddlebox,
	}.Of(e)
	conclude(e, b, &f)
	switch {
	case f.ID == "":
		return nil
	case f.Severity == event.Info && benign(b):
		asBenign(&f, e, b)
	}
	return []event.Finding{f}
}

// hitBy is the client that a reset hits on its way to a server, or that ended its connection by it.
func hitBy(e event.Event, b event.Reset) event.Hit {
	if service(b) == b.Connection.Dst {
		return event.Hit{Pod: e.Peer, From: b.Connection.Src.Addr(), To: packet.FormatAddrPort(b.Connection.Dst), Count: 1}
	}
	return event.Hit{Pod: e.Pod, From: b.Connection.Dst.Addr(), To: packet.FormatAddrPort(b.Connection.Src), Count: 1}
}

// rejected concludes from a packet that was answered by an ICMP error. That a kernel or another machine refuses, the event
// shows: an answer that comes too late for its socket is refused, too.
func (r *Resets) rejected(e event.Event, b event.Reset) []event.Finding {
	if b.Drop == nil || !r.reportDrops {
		return nil
	}
	drop := event.Event{Header: b.DropAt, Pod: e.Pod, Peer: e.Peer, Packet: b.Dropped, Body: *b.Drop}
	f, ok := r.state.Proves(drop, *b.Drop)
	if !ok {
		return nil
	}
	return []event.Finding{f}
}

// packets is the evidence that all resets have.
func packets(b event.Reset) string {
	text := fmt.Sprintf("RST %v", b.Connection)
	if b.Sent != nil && b.Sent.Trigger != nil {
		text += fmt.Sprintf(" in answer to [%s] %v", b.Sent.Trigger.Flags, b.Sent.Trigger.Flow())
	}
	if b.Reason != event.ReasonNotReported {
		text += ", reason " + b.Reason
	}
	if b.State != "" {
		text += ", connection was " + b.State
	}
	return text
}

// after is a text with what goes before it, "" if there is none.
func after(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// end says who is at an address.
func end(p event.Pod, a netip.AddrPort) string {
	if name := p.String(); name != "" {
		return fmt.Sprintf("%s (%s)", name, packet.FormatAddrPort(a))
	}
	return packet.FormatAddrPort(a)
}

// from and to are the sender of the reset and the end that it hit.
func from(e event.Event, b event.Reset) string { return end(e.Peer, b.Connection.Src) }
func to(e event.Event, b event.Reset) string   { return end(e.Pod, b.Connection.Dst) }

// refusedBy is who refused: behind translation, as far as that is known, and not the service.
func refusedBy(e event.Event, b event.Reset) (event.Pod, netip.AddrPort) {
	server := b.Connection.Src
	if b.Backend.IsValid() {
		server = b.Backend
	}
	if t := trigger(b); t != nil {
		server = t.Destination()
	}
	if e.Peer.UID != "" || server == b.Connection.Src {
		return e.Peer, server
	}
	namespace, name, _ := strings.Cut(b.BackendPod, "/")
	return event.Pod{Namespace: namespace, Name: name}, server
}

func (r *Resets) connectionRefused(e event.Event, b event.Reset, f *event.Finding) {
	pod, server := refusedBy(e, b)
	f.ID, f.Subject = "connection-refused", server.String()
	f.Title = fmt.Sprintf("%s was refused: nothing listens on %s.", to(e, b), end(pod, server))
	f.Cause = "The SYN reached its host, which has no listening socket for that address and port."
	f.Remedy = []event.Remedy{listeners(pod, server)}
	if server != b.Connection.Src {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v was translated to %v", b.Connection.Src, server))
	}
	if !r.sentByOwner(b, server.Addr()) {
		f.Confidence = event.Likely
		f.Title = fmt.Sprintf("%s was refused by %s, or by a firewall in its name.", to(e, b), end(pod, server))
		f.Cause = "The SYN was answered with a reset: nothing listens at that address and port, or a firewall on the path refuses on its behalf. " +
			"The server's host was not seen to answer."
		f.Remedy = append(f.Remedy, run("tcpdump -ni any %v", fmt.Sprintf("tcp port %d and host %v", server.Port(), server.Addr())).
			Noting("on the server's host: a firewall answers if no SYN arrives"))
	}
	f.Remedy = append(f.Remedy, do("a server that listens on 127.0.0.1 only must listen on 0.0.0.0 or [::]"))
	young := r.state.starting(pod, e.Time)
	seen := r.refusal(b.Connection.Dst.Addr(), server, e)
	if seen.scanned {
		f.Subject = fmt.Sprintf("ports of %v that refuse %v", server.Addr(), b.Connection.Dst.Addr())
		f.Title = fmt.Sprintf("%s was refused by %s, as by at least %d other ports of that host.", to(e, b), end(pod, server), portScan)
	}
	if !seen.persists() || server.Addr().IsLoopback() || young != "" {
		f.Severity = event.Info
	}
	if young != "" {
		f.Evidence = append(f.Evidence, young)
	}
}

// sentByOwner reports whether the reset is known to be the word of the host that has the address: its kernel reported it,
// or, where kernels report no such reset, it began its way in the namespace that has the address.
func (r *Resets) sentByOwner(b event.Reset, server netip.Addr) bool {
	return b.Sent != nil || b.From != 0 && !b.Guessed && r.state.isLocal(b.From, server)
}

// refusal counts one on the account of the client.
func (r *Resets) refusal(client netip.Addr, server netip.AddrPort, e event.Event) *refusals {
	seen, known := r.refused.Get(server)
	if !known {
		tried := scan{client, server.Addr()}
		ports, _ := r.scans.Get(tried)
		r.scans.Put(tried, ports+1)
		seen = &refusals{first: e.Time, scanned: ports >= portScan}
	}
	r.refused.Put(bounded.Owner{Netns: e.Netns, Addr: client}, server, seen, 1)
	seen.count++
	seen.last = e.Time
	return seen
}

// persists reports whether it is more than a restart.
func (r *refusals) persists() bool {
	return r.count >= refusedOften && r.last.Sub(r.first) >= refusedLong
}

// listeners is how to see who listens at an address.
func listeners(p event.Pod, a netip.AddrPort) event.Remedy {
	if p.Name != "" {
		return run("kubectl -n %v exec %v -- ss -tln %v", p.Namespace, p.Name, fmt.Sprintf("sport = :%d", a.Port()))
	}
	return sockets("ln", "tcp", a.Port()).Noting("on the host of %v", a.Addr())
}

func contains(list []string, s string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ")
}

func (r *Resets) stale(e event.Event, b event.Reset, f *event.Finding) {
	f.ID, f.Subject = "reset-stale-connection", service(b).String()
	f.Title = fmt.Sprintf("%s no longer has the connection that %s still used.", from(e, b), to(e, b))
	f.Cause = "One end had closed the connection, lost it in a restart, or never had it; the other still sent and was reset."
	f.Remedy = []event.Remedy{
		run("sysctl net.ipv4.tcp_keepalive_time").Noting("in the client's network namespace: below the idle timeout of what is between the two"),
		do("let the client retry on a new connection, and keep idle ones alive (SO_KEEPALIVE)"),
	}
	if !r.sentByOwner(b, b.Connection.Src.Addr()) {
		f.Confidence = event.Likely
	}
	if b.Received == nil || contains(closing, b.Received.State) {
		f.Severity = event.Info
	} else if b.Received.State == "CLOSE_WAIT" {
		f.Severity = event.Info // it had received a FIN: TLS sends its close_notify then
		f.Evidence = append(f.Evidence, "the end that was reset had received a FIN, and still sent")
	}
	if b.Sent != nil && b.Sent.State != "" {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the end that sent the reset was in %s", b.Sent.State))
	}
	f.Evidence = append(f.Evidence, idle(b.Received)...)
}

func idle(s *event.Sock) []string {
	if s == nil || s.Idle == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the other end was last heard %v before", s.Idle.Round(time.Millisecond))}
}

func (r *Resets) byFirewall(e event.Event, b event.Reset, f *event.Finding) {
	f.ID, f.Subject = "reset-by-firewall", b.Dropped.Destination().String()
	f.Title = fmt.Sprintf("A firewall rule on this node rejects connections of %s to %s with a reset.", to(e, b), from(e, b))
	f.Cause = "A REJECT rule with tcp-reset dropped the packet and answered it in the name of its destination, which saw nothing of it."
	f.Evidence = append(f.Evidence, fmt.Sprintf("[%s] %v dropped by netfilter (%s)%s", b.Dropped.Flags, b.Dropped.Flow(), b.Drop.Location, after(", ", b.Place)))
	f.Confidence = event.Likely
	f.Remedy = []event.Remedy{
		pipe(run("nft list ruleset"), run("grep -n reject")),
		pipe(run("iptables-save -c"), run("grep -n REJECT")),
		pipe(run("ip6tables-save -c"), run("grep -n REJECT")),
	}
	if b.Drop.Rejected {
		f.Confidence = event.Certain
		f.Evidence = append(f.Evidence, "netfilter itself answered with the reset")
	}
	blame, ok := r.dropRules.Get(event.KeyOf(event.Event{Header: b.DropAt, Packet: b.Dropped}))
	blame = blame.At(b.Drop.Hook)
	if !ok || len(blame.Candidates) == 0 {
		return
	}
	rule := blame.Candidates[0]
	if !b.Drop.Rejected {
		f.Confidence = blame.Confidence
	}
	f.About.Rule = rule.Rule()
	f.Evidence = append(f.Evidence, fmt.Sprintf("rule in %s %s %s: %s", rule.System, rule.Table, rule.Chain, rule.Text))
}

func byMiddlebox(e event.Event, b event.Reset, f *event.Finding) {
	f.ID, f.Subject = "reset-by-middlebox", service(b).String()
	f.Title = fmt.Sprintf("Something on the path reset the connection of %s in the name of %s.", to(e, b), from(e, b))
	f.Cause = "A firewall, proxy or load balancer between the two ends sent the reset; the other end did not."
	f.Confidence = event.Likely
	if b.Received != nil && b.Received.ForgedBy != "" {
		byForger(e, b, f)
		return
	}
	f.Remedy = []event.Remedy{
		run("tcpdump -ni any -v %v", resetsFrom(b.Connection.Src.Addr())).Noting("compare the TTLs"),
		do("ask who runs the network between the two for rules on this address, port or content"),
	}
	if t := b.TTL; t != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the reset has TTL %d (id %d), the other packets of that end %d (id %d)%s", t.Reset, t.ResetID, t.Peer, t.PeerID, after(", at ", b.Place)))
		if !b.Answered && t.Apart() == 1 {
			f.Confidence = event.Possible // ways of one hop more are common where there are several
		}
	}
	if b.Answered {
		f.Evidence = append(f.Evidence, "after the reset the other end accepted the connection")
	}
	f.Evidence = append(f.Evidence, payload(b.Received)...)
}

// byForger is a reset that a program of this machine wrote in the name of the other end.
func byForger(e event.Event, b event.Reset, f *event.Finding) {
	f.Title = fmt.Sprintf("%s reset the connection of %s in the name of %s.", upper(b.Received.ForgedBy), to(e, b), from(e, b))
	f.Cause = "The program wrote the packet by a raw or packet socket. The other end sent no reset."
	f.Evidence = append(f.Evidence, "a program wrote the reset's headers, in a namespace that does not receive what is sent to that end")
	f.Evidence = append(f.Evidence, payload(b.Received)...)
	f.Remedy = withoutRaw()
}

// withoutRaw is what to do against a program that forges packets, after what else there is to do.
func withoutRaw(before ...event.Remedy) []event.Remedy {
	return append(before, run("ss -0 -w -a -n -p").Noting("in that network namespace: who has raw and packet sockets"),
		do("take CAP_NET_RAW from that pod's containers (securityContext.capabilities.drop)"))
}

// resetsFrom is the filter of tcpdump for resets in the name of an address; of IPv6 it has none by the names of flags.
func resetsFrom(a netip.Addr) string {
	if a.Is4() {
		return fmt.Sprintf("src host %v and tcp[tcpflags] & tcp-rst != 0", a)
	}
	return fmt.Sprintf("src host %v and ip6[6] = 6 and ip6[53] & 4 != 0", a)
}

// payload says what the connection carried until then.
func payload(s *event.Sock) []string {
	switch {
	case s == nil || s.State == "SYN_SENT":
		return nil
	case s.Sent > 0 && s.Received == 0:
		return []string{fmt.Sprintf("it came after the first %d bytes of payload were sent and before any answer: typical of a layer-7 firewall", s.Sent)}
	}
	return []string{fmt.Sprintf("%d bytes sent, %d received before", s.Sent, s.Received)}
}

// fromElsewhere is a reset by another machine. Only a long silence before it says why.
func (r *Resets) fromElsewhere(e event.Event, b event.Reset, f *event.Finding) {
	if b.Received == nil || b.Received.Idle < idleLong {
		return
	}
	r.stale(e, b, f)
	f.Confidence = event.Likely
	f.Title = fmt.Sprintf("%s, or something on the path to it, no longer has the connection that %s still used.", from(e, b), to(e, b))
	f.Cause = "One end had closed the connection, lost it in a restart, or never had it; or a NAT, firewall or load balancer forgot it in the pause. " +
		"The other end still sent and was reset."
}

func (r *Resets) overflow(e event.Event, b event.Reset, f *event.Finding) {
	r.state.queueFull(f, *b.Sent, end(e.Peer, b.Sent.Local))
	f.Evidence = append(f.Evidence, "net.ipv4.tcp_abort_on_overflow is set: the client was reset")
}
