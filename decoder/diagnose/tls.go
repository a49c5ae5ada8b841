// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/tls"
)

// TLS is the rule for handshakes that a side ends: where their certificates are in the clear, up to TLS 1.2, by these;
// from then on by what the server answers when it is asked for them, if it is asked.
type TLS struct {
	state   *State
	tracker *tls.Tracker
	served  bounded.Map[servedKey, event.Certificates] // what was answered last
	agreed  *bounded.Table[meeting, agreement]
	names   *bounded.Table[netip.AddrPort, []string] // that clients asked a server for, and refused it
	pending bounded.Pool[*refusal]
	early   []*refusal // of pending, evicted
}

// meeting is a client, and a server as the client asks for it.
type meeting struct {
	client netip.Addr
	server netip.AddrPort
	name   string
}

// agreement is when a client and a server shook hands, first and last.
type agreement struct{ first, last time.Time }

// servedKey is what a server's certificates depend on, but for time.
type servedKey struct {
	server netip.AddrPort
	name   string
	netns  uint32 // of an address that is another server's elsewhere; else 0
}

// refusal is a handshake that was ended, and the event that ended it.
type refusal struct {
	tls.Refusal
	event event.Event
	chain []*x509.Certificate // of the server
	asked bool                // the chain is what another handshake was answered
	many  bool                // the server was refused under more names than are reported one by one
}

const (
	maxRefusals = 1 << 10
	maxNames    = 8 // of one server: clients make names up, and each would be a finding
	maxAgreed   = bounded.MapSize
	answerAfter = 4 * time.Second // a server is asked, and does not answer, for half of it
)

// NewTLS returns the rule.
func NewTLS(state *State) *TLS {
	r := &TLS{state: state, tracker: tls.NewTracker(), agreed: bounded.NewTable[meeting, agreement](maxAgreed), names: bounded.NewTable[netip.AddrPort, []string](maxAgreed)}
	r.pending.Most = maxRefusals
	r.pending.Evict = func(x *refusal) { r.early = append(r.early, x) }
	return r
}

// servedKeyOf is the key for a server that is reached from a namespace.
func servedKeyOf(server netip.AddrPort, name string, netns uint32) servedKey {
	if !server.Addr().IsLoopback() {
		netns = 0
	}
	return servedKey{server, name, netns}
}

// Observe implements stage.Rule.
func (r *TLS) Observe(e event.Event) []event.Finding {
	ended, agreed := r.tracker.Observe(e)
	if agreed != nil {
		r.agrees(meeting{agreed.Client.Addr(), agreed.Server, agreed.Name}, e)
	}
	if f, ok := e.Body.(event.Fact); ok && f.Certificates != nil {
		return r.answered(*f.Certificates)
	}
	if ended == nil || ended.Alert != nil && ended.Alert.Harmless() {
		return nil
	}
	x := refusal{Refusal: *ended, event: e, chain: parseChain(ended.Chain)}
	c, served := r.served.Get(servedKeyOf(x.Server, x.Name, e.Netns))
	if x.Unexplained() && served {
		x.take(c)
	}
	if x.Unexplained() && !served || x.mayBeChoice() {
		r.pending.Add(x.owner(), &x, 1)
		return r.judgeEarly()
	}
	return []event.Finding{r.refused(x)}
}

// mayBeChoice reports whether the two sides may yet agree, on something else: the alert says so, or is encrypted, so that
// it may as well be the good-bye of a client that has seen enough.
func (x refusal) mayBeChoice() bool {
	if x.Alert == nil {
		return !x.ByServer
	}
	return x.Alert.OfChoice()
}

// owner is on whose account a refusal is: the client's.
func (x *refusal) owner() bounded.Owner {
	return bounded.Owner{Netns: x.event.Netns, Addr: x.Client.Addr()}
}

// judgeEarly concludes, by what is known, from those that there is no room for any more.
func (r *TLS) judgeEarly() []event.Finding {
	var found []event.Finding
	for _, x := range r.early {
		found = append(found, r.refused(*x))
	}
	r.early = r.early[:0]
	return found
}

// agrees takes in that a client and a server shook hands.
func (r *TLS) agrees(m meeting, e event.Event) {
	a, known := r.agreed.Get(m)
	if !known {
		a.first = e.Time
	}
	a.last = e.Time
	r.agreed.Put(bounded.Owner{Netns: e.Netns, Addr: m.client}, m, a, 1)
}

// agreesElse reports whether the client shakes hands with the server all the same. Just after a refusal that hides why,
// another ktrace may do so in the client's place, to see what the server shows.
func (r *TLS) agreesElse(x refusal) bool {
	a, ok := r.agreed.Get(meeting{x.Client.Addr(), x.Server, x.Name})
	return ok && (x.Alert != nil || a.first.Before(x.event.Time) || a.last.Sub(x.event.Time) > answerAfter/2)
}

// take takes a chain that the server answered with.
func (x *refusal) take(c event.Certificates) {
	x.chain = parseChain(c.Chain)
	x.asked = len(x.chain) > 0
}

// answered concludes what waited for a server's answer.
func (r *TLS) answered(c event.Certificates) []event.Finding {
	if c.Chain == nil && c.Failed == "" {
		return nil // it was only asked
	}
	about := servedKeyOf(c.Server, c.Name, c.Netns)
	r.served.Put(about, c)
	return r.conclude(func(x *refusal) bool {
		if servedKeyOf(x.Server, x.Name, x.event.Netns) != about {
			return false
		}
		x.take(c)
		return !x.mayBeChoice()
	})
}

// conclude reports those of the pending that are ready.
func (r *TLS) conclude(ready func(*refusal) bool) []event.Finding {
	var over []*refusal
	for entry := range r.pending.All() {
		if ready(entry.Value) {
			over = append(over, entry.Value)
			r.pending.Remove(entry)
		}
	}
	slices.SortFunc(over, func(a, b *refusal) int { return a.event.Time.Compare(b.event.Time) })
	var found []event.Finding
	for _, x := range over {
		found = append(found, r.refused(*x))
	}
	return found
}

// Flush implements stage.Rule.
func (r *TLS) Flush(now time.Time, final bool) []event.Finding {
	r.tracker.Flush(now)
	return r.conclude(func(x *refusal) bool { return final || now.Sub(x.event.Time) >= answerAfter })
}

// refused concludes from a handshake that a side ended.
func (r *TLS) refused(x refusal) event.Finding {
	x.many = r.hasManyNames(x)
	e, p := x.event, x.event.Packet
	f := event.Finding{
		ID: "tls-alert", Confidence: event.Certain, Time: e.Time, First: e.Time, Last: e.Time, Count: 1,
		Subject: x.Server.String(),
		Remedy:  []event.Remedy{x.connect()},
	}.Of(e)
	f.About.Clients, f.About.Servers = []netip.Addr{x.Client.Addr()}, []netip.AddrPort{x.Server}
	if x.Guessed || x.Alert == nil {
		f.Confidence = event.Likely
	}
	side, other := "client", "server"
	if x.ByServer {
		side, other = other, side
	}
	what, how := "an alert that is encrypted", "with an alert that is encrypted, so why is not known"
	f.Cause = fmt.Sprintf("The %s did not accept what the %s sent first, its certificate among it, and ended the connection.", side, other)
	if x.Alert != nil {
		what, how = fmt.Sprint(*x.Alert), fmt.Sprint(*x.Alert)
		f.Cause = fmt.Sprintf("The %s did not accept what the %s offered, and sent an unencrypted alert.", side, other)
		if !x.Alert.Fatal {
			f.Severity = event.Info
		}
	}
	f.Evidence = []string{fmt.Sprintf("%s TLS alert %s from %v to %v", e.Time.UTC().Format("15:04:05.000000"), what, p.Source(), p.Destination())}
	if x.Name != "" {
		f.Subject += " " + x.shownName()
		f.Evidence = append(f.Evidence, fmt.Sprintf("the client asked for the name %q", x.Name))
	}
	if x.ByServer && x.Alert == nil {
		how = "an alert that is encrypted, as a rule because it wants a certificate of the client, or another one"
	}
	if f.Title = fmt.Sprintf("The TLS client refused the handshake with %s: %s.", r.named(x), how); x.ByServer {
		f.Title = fmt.Sprintf("The TLS server %s refused the handshake: %s.", r.named(x), how)
	}
	if x.mayBeChoice() && r.agreesElse(x) {
		f.Severity = event.Info
		f.Evidence = append(f.Evidence, "the same client completed a handshake with the server at another time: it has what the two need to agree")
		return f
	}
	if x.Alert == nil || x.Alert.OfCertificate() {
		r.certificate(x, &f)
	}
	return f
}

// named is what people call the server of a handshake.
func (r *TLS) named(x refusal) string {
	text := x.Server.String()
	if service, ok := r.state.ServiceAt(x.event.Netns, "tcp", x.Server); ok && service.Name != "" {
		text = called(service, event.ServiceRules{}, x.Server)
	} else if pod := x.pod(x.Server).String(); pod != "" {
		text = fmt.Sprintf("%s (%v)", pod, x.Server)
	}
	if x.Name != "" {
		text = x.shownName() + " at " + text
	}
	return text
}

// shownName is the name that the client asked for, unless there are too many.
func (x refusal) shownName() string {
	if x.many {
		return "many names"
	}
	return x.Name
}

// hasManyNames notes the name that a refused server was asked for, and reports whether it is one too many.
func (r *TLS) hasManyNames(x refusal) bool {
	names, _ := r.names.Get(x.Server)
	if x.Name == "" || slices.Contains(names, x.Name) {
		return false
	}
	if len(names) >= maxNames {
		return true
	}
	r.names.Put(x.owner(), x.Server, append(names, x.Name), 1)
	return false
}

// pod is whose an end is.
func (x refusal) pod(end netip.AddrPort) event.Pod {
	source, destination := x.event.Ends()
	if x.event.Packet.Source() == end {
		return source
	}
	return destination
}

// connect is a handshake with the server that shows what it has.
func (x refusal) connect() event.Remedy {
	if x.Name == "" {
		return run("openssl s_client -connect %v </dev/null", x.Server)
	}
	return run("openssl s_client -connect %v -servername %v </dev/null", x.Server, optarg(x.Name))
}

// Summarize implements event.Summarizer.
func (r *TLS) Summarize(s *event.Summary) {
	s.AddEvicted("TLS handshakes", r.tracker.Evicted())
	s.AddEvicted("TLS refusals, judged early", r.pending.Evicted())
}
