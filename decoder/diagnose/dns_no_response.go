// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	"ktrace/decoder/event"
)

// dnsService counts what a server answered.
type dnsService struct {
	answered, unanswered int
	largest              uint32 // bytes of an answer
}

// serves takes in the outcome of a query.
func (r *DNS) serves(d event.DNS) {
	s, _ := r.served.Get(d.Server)
	switch d.Outcome {
	case event.DNSAnswered, event.DNSTruncated:
		s.answered++
		s.largest = max(s.largest, d.Size)
	case event.DNSNoResponse:
		s.unanswered++
	}
	r.served.Put(d.Server, s)
}

// largestSafe is the largest answer that is never fragmented, by the agreement of DNS flag day 2020.
const largestSafe = 1232

// noResponse reports a query without an answer that nothing else explains.
func (r *DNS) noResponse(e event.Event, d event.DNS) (event.Finding, bool) {
	sure, ok := r.absent(d)
	f := event.Finding{
		ID: "dns-no-response", Confidence: sure, Subject: d.Server.String(),
		Title: fmt.Sprintf("The DNS server %v does not answer.", server(d)),
		Cause: "This node forwarded the query and saw no answer: it was lost behind the last place where it was seen, " +
			"or the server does not answer.",
		Evidence: []string{"last seen " + place(d.Last)},
		Remedy:   []event.Remedy{digAgain(d, ""), systemPods("kube-dns")},
	}
	if d.AnswerLast != nil {
		f.Evidence = append(f.Evidence, "answer last seen "+place(d.AnswerLast))
	}
	switch {
	case d.Fragments != nil:
		fragmentLost(&f, d)
	case d.AnswerLast != nil:
		f.Title = fmt.Sprintf("Answers of the DNS server %v do not reach the client.", server(d))
		f.Cause = "The answer came to this node and was not seen where the query began, as other answers were."
		f.Confidence = event.Likely
	default:
		r.someAnswered(&f, d)
	}
	if d.Drop != nil {
		dropNamed(&f, d)
	}
	return f, ok
}

// dropNamed completes a finding of which nothing more is known than that the kernel dropped the query or its answer.
func dropNamed(f *event.Finding, d event.DNS) {
	what := "queries to"
	if d.Drop.Answer {
		what = "answers of"
	}
	if d.Fragments == nil {
		f.Title = fmt.Sprintf("The kernel drops %s the DNS server %v: %s%s.", what, server(d), d.Drop.Reason, event.At(d.Drop.Event))
		f.Cause = fmt.Sprintf("The kernel dropped it: %s in %s.", d.Drop.Reason, d.Drop.Function)
	}
	f.Confidence, f.Recorded = event.Certain, d.Outcome == event.DNSDropped
	f.Evidence = append(f.Evidence, fmt.Sprintf("dropped %v: %s in %s", d.Drop, d.Drop.Reason, d.Drop.Function))
}

// fragmentLost completes a finding about an answer in fragments, some of which were lost.
func fragmentLost(f *event.Finding, d event.DNS) {
	end := "this node"
	if d.Fragments.AtClient {
		end = "the client"
	}
	f.Title = fmt.Sprintf("Large answers of the DNS server %v do not arrive complete at %s: fragments of them are lost.", server(d), end)
	f.Cause = "The answer is larger than a packet and comes in fragments, some of which are dropped on the path: by a firewall or a network that " +
		"passes no fragments, or where the MTU is too small for them. A client receives no part of an incomplete answer."
	f.Evidence = append(f.Evidence, arrived(*d.Fragments), takes(d))
	f.Remedy = fragmentRemedy(d)
}

// arrived says how much of an answer was received.
func arrived(x event.Fragments) string {
	s := fmt.Sprintf("%d bytes of the answer came", x.Arrived)
	if x.Size > 0 {
		s = fmt.Sprintf("%d of %d bytes of the answer came", x.Arrived, x.Size)
	}
	if !x.First {
		return s + ", not its first fragment"
	}
	if x.Size == 0 {
		return s + ", not its last fragment"
	}
	return s
}

// takes says how large an answer the client takes over UDP.
func takes(d event.DNS) string {
	if d.EDNSSize == 0 {
		return "the client takes answers of 512 bytes over UDP, as it sent no EDNS size"
	}
	return fmt.Sprintf("the client takes answers of %d bytes over UDP (EDNS)", d.EDNSSize)
}

func fragmentRemedy(d event.DNS) []event.Remedy {
	return []event.Remedy{
		digAgain(d, " +bufsize=1232").Noting("answers that never are fragments; longer ones are asked for over TCP"),
		digAgain(d, " +tcp"),
		run("tracepath -n %v", server(d).Addr()).Noting("where the path MTU is smaller"),
		do("have clients and servers take no more than %d bytes over UDP: CoreDNS bufsize, unbound edns-buffer-size and max-udp-size", largestSafe),
		do("let fragments pass the firewalls on the path"),
	}
}

// someAnswered completes a finding about a server that answers other queries.
func (r *DNS) someAnswered(f *event.Finding, d event.DNS) {
	const rare = 20 // answers for each that is missing: any network loses packets
	s, _ := r.served.Get(d.Server)
	if s.answered == 0 {
		return
	}
	f.Title = fmt.Sprintf("The DNS server %v does not answer %s, though it answers other queries.", server(d), wanted(d))
	f.Cause = "The query or its answer was lost behind the last place where it was seen, or the server waits for an upstream server."
	f.Evidence = append(f.Evidence, fmt.Sprintf("of the server's other queries %d were answered and %d not, the largest answer had %d bytes", s.answered, s.unanswered-1, s.largest))
	if s.answered > rare*s.unanswered {
		f.Severity = event.Warning
	}
	if d.EDNSSize > largestSafe && s.largest <= largestSafe {
		f.Cause += fmt.Sprintf(" If the answer is larger than a packet its fragments are lost: the client takes answers of %d bytes, and none larger than %d came.",
			d.EDNSSize, s.largest)
		f.Evidence = append(f.Evidence, takes(d))
		f.Remedy = fragmentRemedy(d)
	}
}
