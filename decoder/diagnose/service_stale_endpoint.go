// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// staleEndpoint reports a packet that conntrack sent to a backend which the service has no more.
func staleEndpoint(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	c := d.Conntrack
	if !c.DNAT() || d.ByNetfilter() {
		return event.Finding{}, false
	}
	service, endpoints, known := st.endpointsOf(e.Netns, e.Packet.Proto, c.Original.Dst)
	if port, _ := portOf(service, e.Packet.Proto, c.Original.Dst.Port()); !known || slices.Contains(endpoints, c.Reply.Src) || slices.Contains(port.Ending, c.Reply.Src) {
		return event.Finding{}, false
	}
	f := st.stale(e, c)
	f.Cause += st.takenBy(e, d)
	if rules, still := st.rulesName(e.Netns, c, e.Packet.Proto); still {
		f.Title = fmt.Sprintf("Flows to %s are translated to %v, which is no longer an endpoint: kube-proxy lags behind.", called(service, event.ServiceRules{}, c.Original.Dst), c.Reply.Src)
		f.Cause = "The node's rules still name the endpoint, so new flows go to it as well: kube-proxy does not receive the changes, or is busy writing rules."
		f.About.At(rules.Netns)
		f.Evidence = append(f.Evidence, fmt.Sprintf("the %s rules of netns %d name %v", rules.Source, rules.Netns, c.Reply.Src))
		f.Remedy = []event.Remedy{run("kubectl -n kube-system logs -l k8s-app=kube-proxy --tail=50"), systemPods("kube-proxy")}
	}
	return f, true
}

// takenBy says who gets the packets of an endpoint that is gone, as far as the drop of one shows it; "" if it does not.
func (st *State) takenBy(e event.Event, d event.Drop) string {
	_, to := e.Ends()
	way, asked := st.route(e, false)
	switch {
	case d.NoNeighbour() && (!asked || way.Gateway.IsValid()): // it may be the router that does not answer
		return ""
	case d.NoNeighbour():
		return " No host on the link answers for the address."
	case to.UID != "":
		return fmt.Sprintf(" The pod %s/%s has the address now and gets the packets.", to.Namespace, to.Name)
	case delivered(d):
		return " The host that has the address now gets the packets."
	}
	return ""
}

// stale is the finding about a flow that conntrack goes on sending to a backend which is no endpoint any more.
func (st *State) stale(e event.Event, c *event.Conntrack) event.Finding {
	service, endpoints, _ := st.endpointsOf(e.Netns, e.Packet.Proto, c.Original.Dst)
	return event.Finding{
		ID: "service-stale-endpoint", Confidence: event.Certain, Subject: fmt.Sprintf("%v > %v", c.Original.Dst, c.Reply.Src),
		Title: fmt.Sprintf("A flow to %s is still translated to %v, which is no longer one of its endpoints.", called(service, event.ServiceRules{}, c.Original.Dst), c.Reply.Src),
		Cause: "The conntrack entry of the flow outlives the endpoint that it was made for; as long as the client sends, it never expires.",
		Evidence: []string{
			fmt.Sprintf("conntrack entry: %v", c),
			fmt.Sprintf("the service's endpoints are now %v, according to %s", endpoints, service.Source),
		},
		Remedy: []event.Remedy{
			run("conntrack -D -p %v --orig-dst %v --reply-src %v", e.Packet.Proto, c.Original.Dst.Addr(), c.Reply.Src.Addr()).In(st.enter(e.Netns)),
			do("or let the client use another source port"),
		},
	}
}

// rulesName finds the rules, which may be older than what the API says, that translate to the backend of a flow.
func (st *State) rulesName(netns uint32, c *event.Conntrack, proto string) (event.ServiceFact, bool) {
	for _, s := range st.services.of(c.Original.Dst.Addr()) {
		if s.Source == "api" || !st.concerns(s, netns) {
			continue
		}
		for _, p := range s.Ports {
			if p.Known && p.Proto == proto && p.Port == c.Original.Dst.Port() && slices.Contains(p.Endpoints, c.Reply.Src) {
				return s, true
			}
		}
	}
	return event.ServiceFact{}, false
}

// endpointsOf returns who serves at a service's address and port, as the best source knows it.
func (st *State) endpointsOf(netns uint32, proto string, at netip.AddrPort) (event.ServiceFact, []netip.AddrPort, bool) {
	service, ok := st.ServiceAt(netns, proto, at)
	if !ok {
		return service, nil, false
	}
	for _, p := range service.Ports {
		if p.Known && p.Proto == proto && p.Port == at.Port() {
			return service, p.Endpoints, true
		}
	}
	return service, nil, false
}
