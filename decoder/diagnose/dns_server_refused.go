// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder/event"
)

// notListened reports whether the query was dropped because no socket listens there.
func notListened(d event.DNS) bool {
	return d.Drop != nil && !d.Drop.Answer && d.Drop.Event.Body.(event.Drop).NoSocket()
}

// atOwnAddress adds to a finding about a server that does not listen that the query was for this node itself: a
// node-local cache has the service's address, or one of its own.
func (st *State) atOwnAddress(f event.Finding, d event.DNS) event.Finding {
	if !notListened(d) || d.Drop.Flow.Dst != d.Server {
		return f
	}
	if _, known := st.ServiceAt(d.Drop.Netns, d.Transport, d.Server); !known && !st.translates(d.Drop.Netns) {
		return f
	}
	f.Cause = fmt.Sprintf("The address %v is this node's own, as of a DNS cache on the node, and nothing listens there: the cache is down.", d.Server.Addr())
	f.Evidence = append(f.Evidence, fmt.Sprintf("delivered in netns %d, not translated: the address is one of its own", d.Drop.Netns))
	f.Remedy = append(f.Remedy, pipe(run("ss -lunp"), run("grep %v", d.Server.Addr())).Noting("on the node"), systemPods("node-local-dns"))
	return f
}

// isTraceroute reports whether the query was a probe of a traceroute.
func isTraceroute(e event.Event, d event.DNS) bool {
	return d.ICMP != nil && d.ICMP.Name == "time-exceeded" && e.Packet.TTL <= maxTraceroute
}

// queryRefused concludes from an ICMP error about a query, by the server's host or by a router.
func queryRefused(d event.DNS) event.Finding {
	itself := d.ICMP.From == d.Server.Addr() || d.ICMP.From == server(d).Addr()
	if d.ICMP.Name == "port-unreachable" && itself {
		return saysPortClosed(d)
	}
	f := event.Finding{
		Severity: event.Critical, Confidence: event.Likely, Subject: d.Server.String(), Evidence: icmpEvidence(d), Remedy: []event.Remedy{digAgain(d, "")},
	}
	switch d.ICMP.Name {
	case "time-exceeded":
		f.ID, f.Confidence = "ttl-exceeded", event.Certain
		f.Title = fmt.Sprintf("Queries to the DNS server %v are in a routing loop: TTL exceeded.", server(d))
		f.Cause = fmt.Sprintf("%v answered ICMP time exceeded: the packet had passed too many routers.", d.ICMP.From)
	case "admin-prohibited", "net-prohibited", "host-prohibited", "policy-failed", "port-unreachable":
		f.ID = "netfilter-reject"
		f.Title = fmt.Sprintf("A firewall at %v rejects queries to the DNS server %v.", d.ICMP.From, server(d))
		f.Cause = fmt.Sprintf("A host on the path answered ICMP %s: a REJECT rule there.", d.ICMP.Name)
	case "host-unreachable", "address-unreachable":
		f.ID = "neighbour-failed"
		f.Title = fmt.Sprintf("%v cannot deliver queries to the DNS server %v: it does not answer ARP or neighbour discovery.", d.ICMP.From, server(d))
		f.Cause = "The last router before the server got no answer to ARP or neighbour discovery: the host is down, or no host has the address."
	default:
		f.ID, f.Confidence = "no-route", event.Certain
		f.Title = fmt.Sprintf("%v has no route to the DNS server %v.", d.ICMP.From, server(d))
		f.Cause = fmt.Sprintf("A host on the path answered ICMP %s.", d.ICMP.Name)
		f.Remedy = append(f.Remedy, run("ip route get %v", server(d).Addr()))
	}
	return f
}

func icmpEvidence(d event.DNS) []string {
	return []string{fmt.Sprintf("ICMP %s from %v, last seen %v", d.ICMP.Name, d.ICMP.From, d.ICMP.Sight), "query last seen " + place(d.Last)}
}

// saysPortClosed reports port unreachable by the server's host. That no socket listens is certain only if the drop was
// seen: a REJECT rule of the host gives the same answer.
func saysPortClosed(d event.DNS) event.Finding {
	f := notListening(d)
	f.Evidence = icmpEvidence(d)
	f.Cause = "The server's host was reached and answered ICMP port unreachable: the DNS process is not running there, or listens elsewhere."
	if !notListened(d) {
		f.Confidence = event.Likely
		f.Cause = strings.TrimSuffix(f.Cause, ".") + "; or a REJECT rule of that host answers so."
	}
	return f
}

// portClosed reports a query that was dropped at the server, where no socket listens. Not every one is answered: the
// kernel limits its rate of ICMP errors.
func portClosed(d event.DNS) event.Finding {
	f := notListening(d)
	f.Cause = "The query arrived at the server's host, where no socket is open for the port: the DNS process is not running there, or listens elsewhere."
	f.Evidence = []string{fmt.Sprintf("dropped %v: %s in %s", d.Drop, d.Drop.Reason, d.Drop.Function)}
	return f
}

// notListening is the finding about a server whose port is closed.
func notListening(d event.DNS) event.Finding {
	return event.Finding{
		ID: "dns-server-refused", Confidence: event.Certain, Subject: d.Server.String(),
		Title:  fmt.Sprintf("Nothing listens at the DNS server %v.", server(d)),
		Remedy: []event.Remedy{digAgain(d, ""), systemPods("kube-dns")},
	}
}
