// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/stage"
)

// Row is a finding of the table. A new finding is a row here and a file with the rule or the proof that concludes it: the
// verbs, the flight recorder's triggers, shell completion and the tests take it from here.
type Row struct {
	ID      string
	Kind    event.Kind // of the events whose verb it belongs to; empty: the verb that shows findings alone
	Meaning string     // one line
	// Severity is what it has where the facts give it no other: none worse than Worst and none less than Least, each of
	// which is Severity if it is empty.
	Severity, Worst, Least event.Severity
	// recorded says that records show all that the finding says, as the kernel's reason or a counter. Without it, the finding is
	// no more than possible where records were lost, and information: something that it does not take into account may be among them.
	recorded bool
	rule     ruleRow // that concludes it, and others besides; zero if those of other rows do
	proofs   []proof // by which a drop shows it
}

// ruleRow is how a rule comes into a run.
type ruleRow struct {
	new   func(*State, Config) stage.Rule // nil if there is none
	level level
	kinds []event.Kind // whose verbs run it; the one that shows no events but findings runs all
}

// level says which findings inhibit which: those of one inhibit those of the later ones, see Inhibitor.
type level uint8

const (
	ofPackets  level = iota // what happens to packets
	ofCarriers              // tunnels and sockets: what takes or carries packets
	ofOutcomes              // what becomes of transactions and connections
	apart                   // nothing about packets: outside the Inhibitor
)

// Config is what the rules of a run need to know.
type Config struct {
	Kind event.Kind    // of the verb's events; empty if it shows findings alone
	Slow time.Duration // DNS answers that take longer are slow
	// Ports are those of DNS servers; only the verb that shows DNS events needs them.
	Ports []uint16
	// Slowest, Forget, Window and Pod are as in Fsync.
	Slowest func(event.FsyncClass) (event.FsyncSlow, bool)
	Forget  func()
	Window  time.Duration
	Pod     func(cgroup uint64) event.Pod
}

// Rows returns the table: every finding that there is, by family.
func Rows() []Row {
	return slices.Concat(ofKind(event.KindDrop, dropRows()), ofKind(event.KindNAT, serviceRows()), ofKind(event.KindNAT, conntrackRows()),
		ofKind(event.KindMTU, mtuRows()), nodeRows(), ofKind(event.KindDrop, pathRows()), ofKind(event.KindDNS, dnsRows()),
		ofKind(event.KindReset, resetRows()), tlsRows(), ofKind(event.KindFsync, fsyncRows()))
}

// ofKind gives rows their kind.
func ofKind(kind event.Kind, rows []Row) []Row {
	for i := range rows {
		rows[i].Kind = kind
	}
	return rows
}

const (
	critical = event.Critical
	warning  = event.Warning
	info     = event.Info
)

// dropRows are about what takes packets, a program or a queue, and no other family.
func dropRows() []Row {
	return []Row{
		{ID: kernelDrop, recorded: true, Severity: critical, Least: info, Meaning: "the kernel drops packets for a reason that has no finding of its own",
			rule:   ruleRow{newRule(NewDrops), ofPackets, []event.Kind{event.KindDrop, event.KindNAT, event.KindMTU}},
			proofs: []proof{{byKernelReason, byReason}}},
		{ID: "bpf-drop", recorded: true, Severity: critical, Least: info, Meaning: "a tc, XDP or cgroup program drops packets"},
		{ID: "queue-drop", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "a qdisc, policer or full device queue drops packets"},
		{ID: "duplicate-address", recorded: true, Severity: critical, Least: info, Meaning: "two stations answer for one address"},
		{ID: "hairpin-disabled", recorded: true, Severity: critical, Least: info, Meaning: "a pod cannot reach itself by its service: its bridge port lacks hairpin mode", proofs: []proof{{byBridge, hairpin}}},
	}
}

// serviceRows are about services and their translation.
func serviceRows() []Row {
	return []Row{
		{ID: "service-no-endpoints", recorded: true, Severity: critical, Least: info, Meaning: "a service has no ready endpoints, and the node rejects its packets", proofs: []proof{{byService, noEndpoints}}},
		{ID: "service-dnat-miss", Severity: critical, Least: info, Meaning: "packets to a service address are not translated to a backend: no rule matched",
			rule:   ruleRow{newRule(NewTranslations), ofPackets, []event.Kind{event.KindNAT}},
			proofs: []proof{{byService, dnatMissOfService}, {byNameserver, dnatMissOfNameserver}}},
		{ID: "service-stale-endpoint", Severity: critical, Least: info, Meaning: "a flow is translated to a backend that is no endpoint any more", proofs: []proof{{byService, staleEndpoint}}},
		{ID: "service-reply-not-untranslated", recorded: true, Severity: critical, Meaning: "a backend's answers reach the client from the backend's own address"},
		{ID: "kube-proxy-rules-missing", recorded: true, Severity: critical, Least: info, Meaning: "the node has no rules for services at all"},
	}
}

// conntrackRows are about connection tracking.
func conntrackRows() []Row {
	return []Row{
		{ID: "conntrack-full", recorded: true, Severity: critical, Least: info, Meaning: "the conntrack table is full, so new flows are dropped", proofs: []proof{{byConntrack, conntrackFull}}},
		{ID: "ports-exhausted", recorded: true, Severity: critical, Least: info, Meaning: "no local port is left, or none for source translation", proofs: []proof{{byConntrack, portsExhausted}}},
		{ID: "conntrack-invalid", recorded: true, Severity: critical, Least: info, Meaning: "conntrack calls packets INVALID, and they are dropped or not translated back",
			proofs: []proof{{byConntrack, conntrackUntracked}, {byConntrack, conntrackInvalid}}},
		{ID: "conntrack-insert-race", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "two packets raced for one conntrack entry, and one was dropped", proofs: []proof{{byConntrack, insertRace}}},
	}
}

// nodeRows are about the node as a whole, its tunnels and what other machines say: no events of a kind show them.
func nodeRows() []Row {
	return []Row{
		{ID: "service-no-route", recorded: true, Severity: critical, Meaning: "a sender has no route to a service address",
			rule: ruleRow{func(st *State, c Config) stage.Rule { return NewConnectNoRoute(st, c) }, ofPackets, []event.Kind{event.KindDNS}}},
		{ID: "sysctl-wrong", recorded: true, Severity: critical, Least: info, Meaning: "a sysctl that the data path needs has another value",
			rule: ruleRow{new: newRule(NewBridges), level: ofOutcomes}, proofs: []proof{{byFilter, loopbackRoute}}},
		{ID: "icmp-unreachable", recorded: true, Severity: warning, Least: info, Meaning: "another machine answers that it does not pass packets on",
			rule: ruleRow{new: newRule(NewICMPErrors), level: ofPackets}},
		{ID: "overlay-blocked", Severity: critical, Least: info, Meaning: "an overlay network's packets do not reach the other node",
			rule: ruleRow{new: newRule(NewTunnels), level: ofCarriers}, proofs: []proof{{byTunnel, overlayBlocked}, {byTunnel, overlayMisaddressed}}},
	}
}

// pathRows are about where packets go, and what stops them there.
func pathRows() []Row {
	return []Row{
		{ID: "netfilter-drop", recorded: true, Severity: critical, Least: info, Meaning: "a firewall rule drops packets", proofs: []proof{{byFilter, netfilterVerdict}}},
		{ID: "netfilter-reject", recorded: true, Severity: critical, Least: info, Meaning: "a firewall rule rejects packets"},
		{ID: "martian-source", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "packets have an impossible source or destination address", proofs: []proof{{byAddress, martian}}},
		{ID: "rp-filter", recorded: true, Severity: critical, Least: info, Meaning: "the reverse-path filter drops packets", proofs: []proof{{byAddress, rpFilter}}},
		{ID: "no-route", recorded: true, Severity: critical, Least: info, Meaning: "there is no route to the destination, or no device has it", proofs: []proof{{byHost, addressMissing}, {byRoute, noRoute}}},
		{ID: "ip-forward-disabled", recorded: true, Severity: critical, Least: info, Meaning: "the node does not forward packets", proofs: []proof{{byForwarding, ipForwardDisabled}}},
		{ID: "ttl-exceeded", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "packets run in a routing loop until their TTL is exceeded", proofs: []proof{{byTTL, ttlExceeded}}},
		{ID: "neighbour-failed", recorded: true, Severity: critical, Least: info, Meaning: "a host on the link does not answer ARP or neighbour discovery", proofs: []proof{{byNeighbour, neighbourFailed}}},
		{ID: "socket-buffer-full", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "a process does not read fast enough from its socket",
			rule: ruleRow{func(state *State, _ Config) stage.Rule { return NewSockets(state) }, ofCarriers, []event.Kind{event.KindReset}}},
		{ID: "connect-no-response", Severity: warning, Worst: critical, Least: info, Meaning: "connection attempts get no usable answer",
			rule: ruleRow{newRule(NewConnects), ofOutcomes, []event.Kind{event.KindFlow}}},
		{ID: "udp-no-response", Severity: warning, Least: info, Meaning: "datagrams that want an answer get none",
			rule: ruleRow{new: newRule(NewDatagrams), level: ofOutcomes}},
		{ID: "not-masqueraded", Severity: critical, Least: info, Meaning: "a pod's own address leaves the node as the source, and no answer comes back"},
		{ID: "tcp-loss", Severity: warning, Worst: critical, Least: info, Meaning: "a good part of what is sent must be sent again, or nothing is acknowledged",
			rule: ruleRow{newRule(NewFlows), ofOutcomes, []event.Kind{event.KindFlow}}},
		{ID: "receiver-stalled", recorded: true, Severity: warning, Least: info, Meaning: "a receiver's window stays zero: its process does not read"},
		{ID: "idle-timeout", Severity: warning, Least: info, Meaning: "after a pause a connection is swallowed or reset by something in between"},
		{ID: "checksum-error", recorded: true, Severity: critical, Least: info, Meaning: "packets arrive with a bad checksum", proofs: []proof{{byTunnel, overlayChecksum}}},
	}
}

// mtuRows are about packets' size.
func mtuRows() []Row {
	return []Row{
		{ID: "mtu-exceeded", recorded: true, Severity: critical, Least: info, Meaning: "packets are too big for a device or path, and dropped", proofs: []proof{{bySize, mtuExceeded}}},
		{ID: "pmtu-blackhole", Severity: critical, Least: info, Meaning: "large packets are lost while small ones pass, and no ICMP error says why",
			rule: ruleRow{newRule(NewBlackholes), ofPackets, []event.Kind{event.KindMTU}}},
		{ID: "pmtu-icmp-ignored", recorded: true, Severity: critical, Meaning: "a sender goes on with packets larger than an ICMP error to it allows"},
	}
}

// dnsRows are about name resolution.
func dnsRows() []Row {
	kinds := []event.Kind{event.KindDNS}
	return []Row{
		{ID: "dns-bad-resolv-conf", recorded: true, Severity: critical, Least: info, Meaning: "a resolv.conf names no usable nameserver, or its server asks itself",
			rule: ruleRow{newRule(NewDNSLoops), ofPackets, kinds}},
		{ID: "dns-no-response", Severity: critical, Least: info, Meaning: "a DNS server does not answer",
			rule: ruleRow{func(st *State, c Config) stage.Rule { return NewDNS(st, c.Slow) }, ofOutcomes, kinds}},
		{ID: "dns-server-refused", recorded: true, Severity: critical, Least: info, Meaning: "nothing listens at a DNS server's address"},
		{ID: "dns-servfail", recorded: true, Severity: warning, Meaning: "a DNS server answers SERVFAIL"},
		{ID: "dns-refused", recorded: true, Severity: warning, Meaning: "a DNS server answers REFUSED"},
		{ID: "dns-search-amplification", recorded: true, Severity: info, Meaning: "search list and ndots turn one lookup into many queries",
			rule: ruleRow{newRule(NewDNSLookups), ofOutcomes, kinds}},
		{ID: "dns-nxdomain", Severity: warning, Least: info, Meaning: "a name exists under no search domain",
			rule: ruleRow{new: newRule(NewCaptureOnly), level: ofOutcomes}},
		{ID: "dns-slow", recorded: true, Severity: warning, Least: info, Meaning: "a DNS server's answers are slow"},
		{ID: "dns-truncated", Severity: warning, Least: info, Meaning: "a truncated answer was not fetched over TCP",
			rule: ruleRow{newRule(NewDNSTruncated), ofOutcomes, kinds}},
	}
}

// resetRows are about connections that end early, or never begin. A DNS query that a reset leaves without an answer makes it
// as severe as that.
func resetRows() []Row {
	return []Row{
		{ID: "accept-queue-full", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "a listener does not accept connections fast enough"},
		{ID: "connection-refused", Severity: warning, Least: info, Meaning: "nothing listens at an address and port"},
		{ID: "reset-by-application", Severity: warning, Worst: critical, Least: info, Meaning: "a process closed a connection by a reset",
			rule: ruleRow{func(st *State, c Config) stage.Rule { return NewResets(st, c.Kind == event.KindReset) }, ofOutcomes, []event.Kind{event.KindReset}}},
		{ID: "reset-by-firewall", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "a REJECT rule of this node resets connections"},
		{ID: "reset-by-middlebox", recorded: true, Severity: warning, Worst: critical, Least: info, Meaning: "something between the ends resets connections"},
		{ID: "reset-stale-connection", Severity: warning, Worst: critical, Least: info, Meaning: "a packet came for a connection that its receiver no longer has"},
	}
}

// tlsRows are about handshakes that a side ends.
func tlsRows() []Row {
	return []Row{
		{ID: "tls-alert", recorded: true, Severity: warning, Least: info, Meaning: "a side ends a TLS handshake by an alert",
			rule: ruleRow{new: newRule(NewTLS), level: ofOutcomes}},
		{ID: "tls-certificate-expired", recorded: true, Severity: warning, Least: info, Meaning: "a certificate is past its end"},
		{ID: "tls-certificate-not-yet-valid", recorded: true, Severity: warning, Least: info, Meaning: "a certificate is not valid yet, by a side's clock"},
		{ID: "tls-unknown-authority", recorded: true, Severity: warning, Least: info, Meaning: "a side does not trust who signed a certificate"},
		{ID: "tls-name-mismatch", recorded: true, Severity: warning, Least: info, Meaning: "a certificate is for other names"},
	}
}

// fsyncRows are about syncs to disk.
func fsyncRows() []Row {
	newFsync := func(_ *State, c Config) stage.Rule {
		return &Fsync{Slowest: c.Slowest, Forget: c.Forget, Window: c.Window, Pod: c.Pod}
	}
	return []Row{
		{ID: "fsync-slow", recorded: true, Severity: critical, Meaning: "syncs take longer than the limit, or hang",
			rule: ruleRow{newFsync, apart, []event.Kind{event.KindFsync}}},
		{ID: "fsync-neighbour", recorded: true, Severity: critical, Meaning: "another process's writes slow syncs down"},
		{ID: "fsync-throttled", recorded: true, Severity: critical, Meaning: "the cgroup's I/O limit, not the disk, slows syncs down"},
		{ID: "fsync-cpu-starved", recorded: true, Severity: critical, Least: warning, Meaning: "the process that syncs waits for CPU, not for the disk"},
		{ID: "fsync-error", recorded: true, Severity: critical, Meaning: "a sync returned an error: data may be lost"},
	}
}

// newRule is the constructor of a rule that needs nothing but the state.
func newRule[R stage.Rule](of func(*State) R) func(*State, Config) stage.Rule {
	return func(st *State, _ Config) stage.Rule { return of(st) }
}

// IDs returns the ids of all findings, in the order of the alphabet.
func IDs() []string {
	var ids []string
	for _, r := range Rows() {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

// RowOf returns the row of a finding; ok is false if there is no such finding.
func RowOf(id string) (row Row, ok bool) {
	return rowIn(Rows(), id)
}

func rowIn(rows []Row, id string) (row Row, ok bool) {
	for i := range rows { // not a copy of each
		if rows[i].ID == id {
			return rows[i], true
		}
	}
	return Row{}, false
}

// severity is the one that is proposed, as far as the row allows it; its own if none is.
func (r Row) severity(proposed event.Severity) event.Severity {
	least, worst := cmp.Or(r.Least, r.Severity), cmp.Or(r.Worst, r.Severity)
	switch {
	case proposed == "":
		return r.Severity
	case !proposed.AtLeast(least):
		return least
	case !worst.AtLeast(proposed):
		return worst
	}
	return proposed
}

// Allows reports whether the facts may give the finding a severity.
func (r Row) Allows(s event.Severity) bool { return s != "" && r.severity(s) == s }
