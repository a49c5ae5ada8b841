package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder"
)

// DNS reports why queries were not answered, or answered badly or late. It wants decoder.DNS, and drops as the stage
// of decoder.NewDrops completes them.
type DNS struct {
	know      *Facts
	slow      slowness
	losses    losses
	served    decoder.Recent[netip.AddrPort, dnsService] // what servers answered
	strangers strangers
	held      []decoder.Event // queries that the kernel dropped, until the node has said why
}

// NewDNS returns the rule; answers that take longer than slow are reported. know must be asked before it.
func NewDNS(know *Facts, slow time.Duration) *DNS {
	return &DNS{know: know, slow: slowness{limit: slow}}
}

// Observe implements decoder.Rule.
func (r *DNS) Observe(e decoder.Event) []decoder.Finding {
	r.losses.learn(e)
	d, ok := e.Body.(decoder.DNS)
	if !ok {
		return nil
	}
	r.serves(d)
	r.slow.take(e, d)
	if d.Drop != nil && d.Outcome != decoder.DNSAnswered {
		r.held = append(r.held, e)
		return nil
	}
	return r.conclude(e, d)
}

// Flush implements decoder.Rule.
func (r *DNS) Flush(now time.Time, final bool) []decoder.Finding {
	var found []decoder.Finding
	held := r.held[:0]
	for _, e := range r.held {
		d := e.Body.(decoder.DNS)
		if !final && r.know.mayLearn(d.Drop.Event, now.Sub(d.Drop.Time)) {
			held = append(held, e)
			continue
		}
		found = append(found, r.conclude(e, d)...)
	}
	clear(r.held[len(held):])
	r.held = held
	return append(found, r.slow.judge(now, final)...)
}

func (r *DNS) conclude(e decoder.Event, d decoder.DNS) []decoder.Finding {
	f, ok := r.judge(e, d)
	if !ok {
		return nil
	}
	f = f.Of(e)
	f.Time, f.First, f.Last, f.Count = e.Time, e.Time, e.Time, 1
	f.Evidence = append([]string{question(e, d)}, f.Evidence...)
	return []decoder.Finding{f}
}

// judge returns the deepest cause: what was wrong on the way before what it led to.
func (r *DNS) judge(e decoder.Event, d decoder.DNS) (decoder.Finding, bool) {
	switch {
	case d.Outcome == decoder.DNSAnswered:
		return r.failed(d)
	case d.Outcome == decoder.DNSTruncated:
		return decoder.Finding{}, false // the client asks again over TCP
	case d.Retry && d.Unsent: // that is what the rule Truncated is about
		return decoder.Finding{}, false
	}
	proved, ok := r.proved(d)
	if _, missed := r.missedTranslation(d); ok && (!missed || proved.ID == "service-no-endpoints") { // which has rules, to refuse and not to translate
		return proved, true
	}
	if f, ok := r.know.badResolvConf(d); ok {
		return f, true
	}
	if f, ok := r.notTranslated(e, d); ok {
		return f, true
	}
	if d.AnswerFrom != "" || d.AnswerTo != "" {
		return r.wrongAnswer(e, d), true
	}
	if ok {
		return proved, true
	}
	switch {
	case r.scans(e, d):
		return decoder.Finding{}, false
	case d.ICMP != nil:
		return r.know.atOwnAddress(queryRefused(d), d), true
	case notListened(d):
		return r.know.atOwnAddress(portClosed(d), d), true
	case d.Connection != nil:
		return r.connectionEnded(e, d)
	}
	return r.noResponse(e, d)
}

// notListened reports whether the query found no socket where it arrived.
func notListened(d decoder.DNS) bool {
	return d.Drop != nil && !d.Drop.Answer && d.Drop.Event.Body.(decoder.Drop).NoSocket()
}

// atOwnAddress adds to a finding about a server that nothing listens at that the query was to end there: a cache of the
// node has the service's own address, or one that only this node has.
func (k *Facts) atOwnAddress(f decoder.Finding, d decoder.DNS) decoder.Finding {
	if !notListened(d) || d.Drop.Flow.Dst != d.Server {
		return f
	}
	if _, known := k.ServiceAt(d.Drop.Netns, d.Transport, d.Server); !known && !k.translates(d.Drop.Netns) {
		return f
	}
	f.Cause = fmt.Sprintf("The address %v is this node's own, as of a DNS cache on the node, and nothing listens there: the cache is down.", d.Server.Addr())
	f.Evidence = append(f.Evidence, fmt.Sprintf("delivered in netns %d, not translated: the address is one of its own", d.Drop.Netns))
	f.Remedy = append(f.Remedy, fmt.Sprintf("ss -lunp | grep %v   # on the node", d.Server.Addr()),
		"kubectl -n kube-system get pods -o wide -l k8s-app=node-local-dns")
	return f
}

// proved is what the drop of the query or of its answer proves.
func (r *DNS) proved(d decoder.DNS) (decoder.Finding, bool) {
	if d.Drop == nil {
		return decoder.Finding{}, false
	}
	return r.know.ProvesFailure(d.Drop.Event, d.Drop.Event.Body.(decoder.Drop))
}

// question says what was asked of whom, as evidence.
func question(e decoder.Event, d decoder.DNS) string {
	what := d.Name + " " + d.Type
	switch {
	case d.Unsent:
		what = "a connection over TCP"
	case d.Transport == "tcp":
		what += " over TCP"
	}
	s := fmt.Sprintf("%s %s from %v to %v", e.Time.UTC().Format("15:04:05.000000"), what, e.Packet.Source(), d.Server)
	if d.Attempts > 1 {
		s += fmt.Sprintf(", attempt %d", d.Attempts)
	}
	return s
}

// notTranslated reports a query to a service that went on, or died, as it came: the node's rules did not make a
// backend of the service.
func (r *DNS) notTranslated(e decoder.Event, d decoder.DNS) (decoder.Finding, bool) {
	where, missed := r.missedTranslation(d)
	if !missed {
		return decoder.Finding{}, false
	}
	p := *e.Packet
	p.Src, p.Sport, p.Dst, p.Dport = where.Flow.Src.Addr(), where.Flow.Src.Port(), where.Flow.Dst.Addr(), where.Flow.Dst.Port()
	e.Header = decoder.Header{Time: where.Time, Netns: where.Netns, Iface: where.Iface, Direction: where.Direction}
	e.Packet = &p
	f, ok := r.know.missed(e, where.Conntrack)
	if f.Severity == "" {
		f.Severity = decoder.Critical
	}
	if i := slices.Index(f.Evidence, untranslatedAt(e)); i >= 0 {
		f.Evidence[i] = "seen untranslated " + where.String()
	}
	return f, ok
}

// missedTranslation finds where the query was on its way untranslated although the rules had had their turn: leaving
// by a device of another namespace than its sender's, or with the mark that the rules were asked and had nothing. Those
// of a pod's own namespace are not meant for services.
func (r *DNS) missedTranslation(d decoder.DNS) (decoder.Sight, bool) {
	asked := func(s decoder.Sight) bool {
		return s.Conntrack.NATDone() && !s.Conntrack.DNAT() && (s.Netns != d.ClientNetns || r.know.translates(s.Netns))
	}
	for _, s := range d.Hops {
		switch {
		case s.Answer || s.Flow.Dst != d.Server || r.know.isLocal(s.Netns, d.Server.Addr()):
		case asked(s), s.Direction == decoder.Out && s.Netns != d.ClientNetns:
			return s, true
		}
	}
	if d.Drop != nil && !d.Drop.Answer && d.Drop.Flow.Dst == d.Server && !notListened(d) && asked(d.Drop.Sight) {
		return d.Drop.Sight, true
	}
	return decoder.Sight{}, false
}

// queryRefused reports a server's host that has nobody listening, or a router that says it goes no further.
func queryRefused(d decoder.DNS) decoder.Finding {
	f := decoder.Finding{
		Severity: decoder.Critical, Confidence: decoder.Certain, Subject: d.Server.String(),
		Evidence: []string{fmt.Sprintf("ICMP %s from %v, last seen %v", d.ICMP.Name, d.ICMP.From, d.ICMP.Sight), "query last seen " + place(d.Last)},
		Remedy:   []string{digCommand(d)},
	}
	switch d.ICMP.Name {
	case "port-unreachable":
		evidence := f.Evidence
		f = deaf(d)
		f.Evidence = evidence
		f.Cause = "The server's host was reached and answered ICMP port unreachable: the DNS process is not running there, or listens elsewhere."
	case "time-exceeded":
		f.ID = "ttl-exceeded"
		f.Title = fmt.Sprintf("Queries to the DNS server %v go round in circles.", server(d))
		f.Cause = fmt.Sprintf("%v gave up the packet because it had passed too many routers: a routing loop.", d.ICMP.From)
	case "admin-prohibited", "net-prohibited", "host-prohibited", "policy-failed":
		f.ID, f.Confidence = "netfilter-reject", decoder.Likely
		f.Title = fmt.Sprintf("A firewall at %v rejects queries to the DNS server %v.", d.ICMP.From, server(d))
		f.Cause = "A host on the path answered that passing is prohibited: a REJECT rule there."
	case "host-unreachable", "address-unreachable":
		f.ID, f.Confidence = "neighbour-failed", decoder.Likely
		f.Title = fmt.Sprintf("%v is to deliver queries to the DNS server %v, and gets no answer from it.", d.ICMP.From, server(d))
		f.Cause = "The last router before the server got no answer to ARP or neighbour discovery: the host is down, or no host has the address."
	default:
		f.ID = "no-route"
		f.Title = fmt.Sprintf("%v has no way to the DNS server %v.", d.ICMP.From, server(d))
		f.Cause = fmt.Sprintf("A host on the path answered ICMP %s.", d.ICMP.Name)
		f.Remedy = append(f.Remedy, fmt.Sprintf("ip route get %v", server(d).Addr()))
	}
	return f
}

// portClosed reports a query that found no socket where it arrived. Of many such only some are answered: the kernel
// limits how many ICMP errors it sends to anyone.
func portClosed(d decoder.DNS) decoder.Finding {
	f := deaf(d)
	f.Cause = "The query arrived at the server's host, where no socket is open for the port: the DNS process is not running there, or listens elsewhere."
	f.Evidence = []string{fmt.Sprintf("dropped %v: %s in %s", d.Drop, d.Drop.Reason, d.Drop.Function)}
	return f
}

// deaf is the finding about a server that nobody listens at.
func deaf(d decoder.DNS) decoder.Finding {
	return decoder.Finding{
		ID: "dns-server-refused", Severity: decoder.Critical, Confidence: decoder.Certain, Subject: d.Server.String(),
		Title:  fmt.Sprintf("Nothing listens at the DNS server %v.", server(d)),
		Remedy: []string{digCommand(d), "kubectl -n kube-system get pods -o wide -l k8s-app=kube-dns"},
	}
}

// server is who should answer: the backend where it is known.
func server(d decoder.DNS) netip.AddrPort {
	if d.Backend.IsValid() {
		return d.Backend
	}
	return d.Server
}

func place(s *decoder.Sight) string {
	if s == nil {
		return "nowhere"
	}
	return s.String()
}

// digCommand asks the same again.
func digCommand(d decoder.DNS) string {
	command := fmt.Sprintf("dig @%v -p %d", d.Server.Addr(), d.Server.Port())
	if d.Transport == "tcp" {
		command += " +tcp"
	}
	if d.Name != "" {
		command += " " + dnsName(d.Name) + " " + quote(d.Type)
	}
	return command
}
