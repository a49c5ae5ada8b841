// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	"ktrace/decoder/event"
)

// failed reports an answer by which the server says that it cannot or will not answer.
func (r *DNS) failed(d event.DNS) (event.Finding, bool) {
	ids := map[string]string{"SERVFAIL": "dns-servfail", "REFUSED": "dns-refused"}
	id, ok := ids[d.Rcode]
	if !ok {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: id, Confidence: event.Certain, Subject: d.Server.String(),
		Title: fmt.Sprintf("The DNS server %v answers %s, first to %s %s.", server(d), d.Rcode, d.Name, d.Type),
		Cause: map[string]string{
			"SERVFAIL": "The server was reached, but could not resolve the name: most often its upstream servers do not answer.",
			"REFUSED":  "The server was reached, but refuses this client or this name: no zone or forwarder of its configuration matches.",
		}[d.Rcode],
		Evidence: []string{fmt.Sprintf("answered %s after %v", d.Rcode, d.Latency)},
		Remedy:   []event.Remedy{digAgain(d, ""), run("kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50")},
	}
	f.Evidence = append(f.Evidence, reasonsGiven(d.Errors)...)
	if cause, ok := causeGiven(d.Errors); ok {
		f.Cause = cause
	}
	conf, _ := r.state.resolvs.Get(d.ClientNetns)
	if base, searched := conf.Base(d.Name); searched {
		f.Cause += fmt.Sprintf(" Resolvers that stop at such an answer, as musl's does (Alpine), do not find %q then, though it may exist "+
			"under another search domain or as it is.", base)
	}
	return f, true
}

// wrongAnswer reports an answer that the client's socket does not take: it does not come from the address and port that
// the query went to, or does not go to the port that it came from.
func (r *DNS) wrongAnswer(e event.Event, d event.DNS) event.Finding {
	asked := e.Packet.Destination()
	f := event.Finding{
		ID: "service-reply-not-untranslated", Confidence: event.Certain, Subject: d.Server.String(),
		Title: fmt.Sprintf("Answers to queries for %v arrive from %s, so the client discards them.", d.Server, d.AnswerFrom),
		Cause: "The answer did not pass the conntrack entry that translated the query: it took another path, or a bridge passed it on " +
			"without asking netfilter (net.bridge.bridge-nf-call-iptables=0).",
		Evidence: []string{"answer last seen " + place(d.AnswerLast), fmt.Sprintf("expected from %v", asked)},
		Remedy:   []event.Remedy{run("sysctl net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables")},
	}
	if d.AnswerTo != "" {
		f.Title = fmt.Sprintf("Answers to queries for %v are sent to %s, where the client does not wait for them.", d.Server, d.AnswerTo)
		f.Evidence = append(f.Evidence, fmt.Sprintf("expected at %v", e.Packet.Source()))
	}
	if d.Backend.IsValid() && (d.AnswerTo != "" || d.AnswerFrom == d.Backend.String()) {
		return f
	}
	f.Confidence = event.Likely
	_, service := r.state.ServiceAt(d.ClientNetns, d.Transport, d.Server)
	if alone := r.state.node.Kernel == ""; service || alone && d.Server.Addr().IsPrivate() {
		f.Cause = "The query was translated, but its answer was not translated back: it bypassed conntrack. " +
			"A server that has several addresses and answers from another than the one it was asked at looks the same."
		return f
	}
	f.ID, f.Cause = "dns-no-response", "The server has several addresses and answers from another than the one it was asked at, or something on the "+
		"path changes the answer's source. Resolvers ignore such answers."
	f.Remedy = []event.Remedy{digAgain(d, "").Noting("names the source: reply from unexpected source")}
	return f
}
