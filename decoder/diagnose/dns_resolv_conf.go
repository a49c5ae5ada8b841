// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// badResolvConf reports a query that failed because the client's resolv.conf has no nameserver, so that the resolver
// asks its own host, or one that is not the cluster's DNS.
func (st *State) badResolvConf(d event.DNS) (event.Finding, bool) {
	conf, known := st.resolvs.Get(d.ClientNetns)
	if !known {
		return event.Finding{}, false
	}
	if f, ok := st.asksItself(conf, d); ok {
		return f, true
	}
	var passed []uint32
	for _, h := range d.Hops {
		passed = append(passed, h.Netns)
	}
	if st.effects.servesAt(d.ClientNetns, d.Transport, d.Server) {
		return event.Finding{}, false
	}
	return st.noService(conf, d.Server, passed)
}

// asksItself reports a query to a loopback address of the client where nothing listens: its resolv.conf names it, or has
// no address that the resolver understands.
func (st *State) asksItself(conf event.ResolvConf, d event.DNS) (event.Finding, bool) {
	if !d.Server.Addr().IsLoopback() {
		return event.Finding{}, false
	}
	unheard := d.ICMP != nil && d.ICMP.Name == "port-unreachable" || notListened(d)
	f := badFile(conf)
	switch named := slices.Contains(conf.Nameservers, d.Server.Addr()); {
	case len(conf.Nameservers) == 0:
		f.Title = "The client's resolv.conf names no nameserver, so its queries go to its own loopback address, where no server listens."
		f.Cause = "A resolver without a nameserver asks 127.0.0.1 (resolv.conf(5))."
	case !named && unheard && conf.Garbled():
		f.Title = fmt.Sprintf("The client's resolver does not understand the nameservers of its resolv.conf, so its queries go to %v, where no server listens.", d.Server.Addr())
		f.Cause = "A resolver without a nameserver asks 127.0.0.1 (resolv.conf(5)). glibc does not parse an address with a carriage return behind it, as Windows editors end lines."
	case named && unheard && d.ClientNetns != st.node.Netns:
		f.Title = fmt.Sprintf("The client's resolv.conf names %v, which is the client itself, and nothing listens there.", d.Server.Addr())
		f.Cause = "A loopback address is another host in every network namespace: a pod does not reach systemd-resolved, or a cache, at the node's. " +
			"If a container of the pod should serve there, it is not running."
		f.Remedy = slices.Insert(f.Remedy, 0, kubeletResolvConf())
	default:
		return f, false
	}
	return f, true
}

// askedNoServer reports a packet to a nameserver of its sender's resolv.conf which the cluster does not serve.
func (st *State) askedNoServer(e event.Event) (event.Finding, bool) {
	const dns = 53
	if e.Packet.Dport != dns {
		return event.Finding{}, false
	}
	all := maps.Collect(st.resolvs.All())
	for _, netns := range slices.Sorted(maps.Keys(all)) {
		if !st.sentFrom(netns, e) {
			continue
		}
		if f, ok := st.noService(all[netns], e.Packet.Destination(), []uint32{e.Netns, st.effects.natNetns(e)}); ok {
			return f, true
		}
	}
	return event.Finding{}, false
}

// noService reports a resolv.conf with an address in the service range which no service has. An address that is not
// known to be in that range may be any server's. The packet passed the given namespaces.
func (st *State) noService(conf event.ResolvConf, asked netip.AddrPort, passed []uint32) (event.Finding, bool) {
	right, ok := st.clusterDNS(conf, asked, passed)
	sure, why := st.inRange(asked.Addr(), passed...)
	if !ok || sure == "" {
		return event.Finding{}, false
	}
	f := badFile(conf)
	f.Confidence = sure
	f.Title = fmt.Sprintf("The client's resolv.conf names %v, which is no service; the cluster's DNS service is %v.", asked.Addr(), right)
	f.Cause = "The file names an address that no service of the cluster has: a wrong clusterDNS of the kubelet, or the pod's own dnsConfig."
	f.Evidence = append(f.Evidence, fmt.Sprintf("no service has the address %v", asked.Addr()), why)
	return f, true
}

// badFile is the finding about a resolv.conf.
func badFile(conf event.ResolvConf) event.Finding {
	f := event.Finding{
		ID: "dns-bad-resolv-conf", Confidence: event.Certain,
		Subject:  fmt.Sprintf("resolv.conf in netns %d", conf.Netns),
		Evidence: []string{fmt.Sprintf("its nameservers: %s; search: %s", list(conf.Nameservers), orElse(strings.Join(conf.Search, " "), "none"))},
		Remedy: []event.Remedy{
			catResolvConf(conf.Netns),
			run("grep -A3 clusterDNS /var/lib/kubelet/config.yaml"),
			do("compare with the pod's spec.dnsPolicy and spec.dnsConfig"),
		},
	}
	for _, line := range conf.Bad {
		f.Evidence = append(f.Evidence, fmt.Sprintf("a line that resolvers ignore: %q", line))
	}
	return f
}

// clusterDNS returns the cluster's DNS service if the server that was asked is certainly another: in the service range,
// but not among the services of the API and of the rules that the packet passed. ok is false if that is not certain.
func (st *State) clusterDNS(conf event.ResolvConf, asked netip.AddrPort, passed []uint32) (right netip.Addr, ok bool) {
	if !conf.Cluster() || !slices.Contains(conf.Nameservers, asked.Addr()) {
		return right, false
	}
	for _, s := range st.services.facts {
		if guessed(s) || s.CIDR.IsValid() || !st.concerns(s, st.node.Netns) && !slices.Contains(passed, s.Netns) {
			continue
		}
		if slices.Contains(s.Addrs, asked.Addr()) {
			return right, false
		}
		if s.Namespace != "kube-system" || s.Name != "kube-dns" && s.Name != "coredns" || !has(s, "udp", 53) {
			continue
		}
		for _, a := range s.Addrs {
			if a.Is4() == asked.Addr().Is4() && (!ok || a.Less(right)) {
				right, ok = a, true
			}
		}
	}
	return right, ok
}

func list(addrs []netip.Addr) string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return orElse(strings.Join(all, " "), "none")
}
