package decoder

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// ResetSender says who put an end to a connection.
type ResetSender string

// Who sends resets.
const (
	SenderKernel    ResetSender = "kernel"    // of this node: no process wanted it
	SenderApp       ResetSender = "app"       // a process of this node, by closing or ending
	SenderFirewall  ResetSender = "firewall"  // a rule of this node
	SenderPeer      ResetSender = "peer"      // the other end, which is not on this node
	SenderMiddlebox ResetSender = "middlebox" // neither end
)

// ResetCause says why.
type ResetCause string

// Causes of resets.
const (
	ResetRefused   ResetCause = "refused"         // nothing listens
	ResetStale     ResetCause = "stale"           // the receiver of a packet knows no such connection
	ResetUnread    ResetCause = "unread-data"     // closed with data unread
	ResetEarly     ResetCause = "data-after-exit" // data came for a connection that the process had closed
	ResetLinger    ResetCause = "linger-0"        // closed with SO_LINGER of time 0
	ResetKilled    ResetCause = "killed"          // the process was ended by a signal
	ResetExited    ResetCause = "exited"          // the process ended without closing
	ResetDropped   ResetCause = "disconnected"    // the process gave the connection up
	ResetTimeout   ResetCause = "timeout"         // keepalive or a retransmission limit
	ResetMemory    ResetCause = "memory"          // too many orphans, or no memory for TCP
	ResetDestroyed ResetCause = "destroyed"       // from outside the process: ss -K, a network manager
	ResetOverflow  ResetCause = "accept-queue"    // full, and net.ipv4.tcp_abort_on_overflow is set
	ResetInvalid   ResetCause = "invalid-packet"  // one that fits no connection
	ResetRejected  ResetCause = "rejected"        // by a rule
	ResetForged    ResetCause = "forged"          // in the name of the other end
	ResetUnknown   ResetCause = "unknown"         // decided on another machine

	ResetUnreachable ResetCause = "unreachable" // no way, or nobody at the address

	ResetOlder        ResetCause = "older-connection"   // a SYN was answered by a word about an earlier connection of the same ends
	ResetUntranslated ResetCause = "untranslated-reply" // an answer came from the backend's own address, which the client never asked
)

// Reset is one connection's end by reset, however many reset packets and reports it took; or a flow's, of whatever
// protocol, by an ICMP error that says it is not wanted.
type Reset struct {
	Sender     ResetSender `json:"sender"`
	Cause      ResetCause  `json:"cause"`
	Reason     string      `json:"reason"`             // by the kernel's name, "not-told" if it gives none
	State      string      `json:"state,omitempty"`    // of the connection at the end that was reset, else at the other
	Connection FlowTuple   `json:"connection"`         // from the sender to the end that was reset
	Sent       *Sock       `json:"sent,omitempty"`     // what its sender reported, nil if it was sent elsewhere
	Received   *Sock       `json:"received,omitempty"` // what the socket reported that it ended, nil if that is elsewhere
	Packets    int         `json:"packets"`            // reset packets sent or received by sockets here
	TTL        *TTLs       `json:"ttl,omitempty"`      // nil if none of the peer's other packets was seen
	Answered   bool        `json:"answered,omitempty"` // the peer accepted the connection after it was reset in its name
	Drop       *Drop       `json:"drop,omitempty"`     // of the packet that was rejected
	Dropped    *Packet     `json:"dropped,omitempty"`  // that packet
	DropAt     Header      `json:"-"`                  // of that drop
	Place      string      `json:"place,omitempty"`    // where the drop, the TTL or the ICMP error was seen
	Answer     *Answer     `json:"answer,omitempty"`   // the ICMP error, nil of a reset
	Refused    *Packet     `json:"refused,omitempty"`  // what that is about

	Server     netip.AddrPort `json:"server,omitzero"`       // the end of Connection that was connected to, where its beginning was seen
	Backend    netip.AddrPort `json:"backend,omitzero"`      // who is the server behind translation
	BackendPod string         `json:"backend_pod,omitempty"` // ns/name of the pod that is the backend
	Original   FlowTuple      `json:"original,omitzero"`     // as the client began it; valid iff Cause is untranslated-reply
	From       uint32         `json:"from_netns,omitempty"`  // network namespace that it began its way in, 0 if that was not seen
	Guessed    bool           `json:"guessed,omitempty"`     // the kernel of Sender reports its resets, and not this one
}

// Kind implements Body.
func (Reset) Kind() Kind { return KindReset }

// ServedAt implements Served.
func (r Reset) ServedAt() netip.AddrPort { return r.Backend }

// ServedBy implements Served.
func (r Reset) ServedBy(pod string) Body {
	r.BackendPod = pod
	return r
}

// Summary implements Body.
func (r Reset) Summary() string {
	return fmt.Sprintf("%v reset by %s: %s (%s)", r.Connection, r.Sender, r.Cause, r.Reason)
}

// Columns implements Tabular.
func (Reset) Columns() []Column {
	return []Column{{"SENDER", 9}, {"CAUSE", 15}, {"STATE", 11}, {"CONNECTION", 0}}
}

// Row implements Tabular.
func (r Reset) Row() []string {
	state, connection := r.State, r.Connection.String()
	if r.Refused != nil {
		state, connection = "-", r.Refused.Proto+" "+connection+", "+r.Answer.String()
	}
	return []string{string(r.Sender), string(r.Cause), state, connection}
}

// How long a reset is held for what belongs to it.
const (
	resetHold   = 300 * time.Millisecond
	answerHold  = time.Second            // one that answered a SYN from elsewhere: the true answer may be still to come
	ruleHold    = 700 * time.Millisecond // for the rule that rejected to be found
	echoHold    = 5 * time.Second        // after which a reset of the same connection is another's
	memoryHold  = 2 * time.Minute        // how long TTLs and translations of connections are kept without being used
	rejectHold  = 100 * time.Millisecond
	memoryLimit = 1 << 16
)

// Resets is the stage that makes one Reset of all that sockets and devices tell of it. It wants packets with SYN or
// RST and ICMP errors at devices, drops as NewDrops completes them, and the reports of sockets; it passes all of them on.
type Resets struct {
	open    map[connection]*reset
	echoes  map[connection]time.Time
	names   aliases
	ttls    map[sighting]ttlSeen
	clients map[connection]initiator
	rejects map[connection][]Event // drops by netfilter, the latest of each flow
	refused refusals
	putOff  PutOffs // about the rule that rejected
	pruned  time.Time
	silent  bool // the kernel says nothing of a reset that no full socket sends (before 6.10)
	only    Only
}

// reset is what is known so far of one connection's end.
type reset struct {
	connection connection
	sent       []Event
	received   []Event
	hops       []Event
	destroyed  bool
	ttl        *TTLs
	ttlPlace   string
	ttlOfSYN   bool // that of the other packet, that a scan begins with, made by hand
	begunAnew  bool // the client tried again after the reset
	answered   bool
	drop       *Event
	due        time.Time
}

// NewResets returns the stage.
func NewResets() *Resets {
	return &Resets{
		open:   map[connection]*reset{},
		echoes: map[connection]time.Time{},
		names:  aliases{},
		ttls:   map[sighting]ttlSeen{},

		clients: map[connection]initiator{},
		rejects: map[connection][]Event{},
		refused: newRefusals(),
		putOff:  PutOffs{},
	}
}

// Observe implements Stage.
func (r *Resets) Observe(e Event) []Event {
	switch b := e.Body.(type) {
	case Fact:
		if b.Node != nil {
			r.silent = len(b.Node.Resets) == 0
		}
		r.putOff.Learn(b)
	case Hop:
		r.hop(e, b)
	case Drop:
		r.drop(e, b)
	case Sock:
		r.sock(e, b)
	}
	return r.only.Event(e)
}

func (r *Resets) hop(e Event, h Hop) {
	p := e.Packet
	if p != nil && p.IsICMPError() {
		r.refused.hop(e)
	}
	if p == nil || p.Proto != "tcp" {
		return
	}
	if h.Conntrack != nil {
		r.rename(h.Conntrack, e.Time)
	}
	if isSYN(p) {
		r.begins(e)
	}
	if !p.HasFlag('R') {
		r.compare(e)
	} else if g := r.group(p.Flow(), e.Time, false); g != nil {
		g.hops = append(g.hops, e)
		r.measure(g, e)
	}
}

// rename learns what a connection is called on the other side of a translation.
func (r *Resets) rename(c *Conntrack, now time.Time) {
	from, to := connectionOf(c.Reply), connectionOf(c.Original)
	if from == to {
		return
	}
	a := alias{to, c.Original, c.Reply, now}
	r.names[from], r.names[to] = a, a
	if known := r.rejects[from]; known != nil {
		delete(r.rejects, from)
		r.rejects[to] = append(r.rejects[to], known...)
	}
	if g, ok := r.open[from]; ok {
		delete(r.open, from)
		if other, ok := r.open[to]; ok {
			g.join(other)
		}
		g.connection = to
		r.open[to] = g
	}
}

// join takes in what was known of the same reset under another name.
func (g *reset) join(other *reset) {
	g.sent = append(g.sent, other.sent...)
	g.received = append(g.received, other.received...)
	g.hops = append(g.hops, other.hops...)
	g.destroyed = g.destroyed || other.destroyed
	g.answered = g.answered || other.answered
	g.begunAnew = g.begunAnew || other.begunAnew
	if g.ttl == nil {
		g.ttl, g.ttlPlace, g.ttlOfSYN = other.ttl, other.ttlPlace, other.ttlOfSYN
	}
	if g.drop == nil {
		g.drop = other.drop
	}
}

func (r *Resets) drop(e Event, d Drop) {
	if e.Packet == nil || !d.ByNetfilter() {
		return
	}
	r.refused.rejected(e, d)
	if e.Packet.Proto != "tcp" {
		return
	}
	if d.Conntrack != nil {
		r.rename(d.Conntrack, e.Time)
	}
	c := r.names.of(e.Packet.Flow())
	same := func(old Event) bool { return old.Packet.Flow() == e.Packet.Flow() }
	r.rejects[c] = append(slices.DeleteFunc(r.rejects[c], same), e)
	if g := r.open[c]; g != nil {
		g.reject(e)
	}
}

// reject takes in the drop of a packet that the reset may answer.
func (g *reset) reject(drop Event) {
	if g.drop == nil && len(g.sent) == 0 && g.first().Packet.Flow().opposes(drop.Packet.Flow()) {
		g.drop, g.due = &drop, drop.Time.Add(ruleHold)
	}
}

// sock takes in what a socket reports.
func (r *Resets) sock(e Event, s Sock) {
	switch s.Op {
	case SockResetSent:
		if g := r.group(e.Packet.Flow(), e.Time, isSYN(s.Trigger)); g != nil {
			g.sent = append(g.sent, e)
		}
	case SockResetReceived:
		if g := r.group(e.Packet.Flow(), e.Time, s.State == "SYN_SENT"); g != nil {
			g.received = append(g.received, e)
			if s.State == "SYN_SENT" && len(g.sent) == 0 {
				g.due = e.Time.Add(answerHold)
			}
		}
	case SockError:
		if g := r.open[r.names.of(e.Packet.Flow())]; g != nil && s.Error == "ECONNABORTED" {
			g.destroyed = true
		}
	}
}

// group finds or begins the reset that a packet or report belongs to. It returns nil for what only repeats a reset
// that is finished; fresh says that it cannot.
func (r *Resets) group(f FlowTuple, now time.Time, fresh bool) *reset {
	c := r.names.of(f)
	if g, ok := r.open[c]; ok {
		return g
	}
	if over, ok := r.echoes[c]; ok && !fresh && now.Sub(over) < echoHold {
		return nil
	}
	g := &reset{connection: c, due: now.Add(resetHold)}
	r.open[c] = g
	for _, old := range r.rejects[c] {
		if now.Sub(old.Time) <= rejectHold && f.opposes(old.Packet.Flow()) {
			g.drop, g.due = &old, now.Add(ruleHold)
		}
	}
	return g
}

// Flush implements Stage.
func (r *Resets) Flush(now time.Time, final bool) []Event {
	var done []*reset
	for c, g := range r.open {
		if final || !now.Before(g.due) && !r.awaits(g.drop, now) {
			done = append(done, g)
			delete(r.open, c)
			r.echoes[c] = now
		}
	}
	slices.SortFunc(done, func(a, b *reset) int { return a.first().Time.Compare(b.first().Time) })
	events := make([]Event, 0, len(done))
	for _, g := range done {
		events = append(events, r.conclude(g))
	}
	events = append(events, r.refused.flush(now, final, r.awaits)...)
	if now.Sub(r.pruned) > time.Second {
		r.prune(now)
	}
	return events
}

// awaits is whether it is still to be said which rule dropped a packet, nil for none.
func (r *Resets) awaits(drop *Event, now time.Time) bool {
	return drop != nil && r.putOff.Awaits(*drop, now.Sub(drop.Time))
}

// prune forgets what was not used for long, and everything if there is too much of it.
func (r *Resets) prune(now time.Time) {
	r.pruned = now
	r.refused.prune(now)
	full := len(r.ttls) > memoryLimit || len(r.names) > memoryLimit || len(r.clients) > memoryLimit
	old := func(when time.Time) bool { return full || now.Sub(when) > memoryHold }
	maps.DeleteFunc(r.ttls, func(_ sighting, v ttlSeen) bool { return old(v.when) })
	maps.DeleteFunc(r.names, func(_ connection, v alias) bool { return old(v.when) })
	maps.DeleteFunc(r.clients, func(_ connection, v initiator) bool { return old(v.when) })
	for k, all := range r.rejects {
		if now.Sub(all[len(all)-1].Time) > rejectHold {
			delete(r.rejects, k)
		}
	}
	for k, v := range r.echoes {
		if now.Sub(v) > echoHold {
			delete(r.echoes, k)
		}
	}
}
