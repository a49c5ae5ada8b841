package diagnose

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder"
)

// badResolvConf reports a query that failed because of whom the client's resolv.conf names: nobody, so that the
// resolver asks its own host, or an address that is not the cluster's DNS.
func (k *Facts) badResolvConf(d decoder.DNS) (decoder.Finding, bool) {
	conf, known := k.resolvs.Get(d.ClientNetns)
	if !known {
		return decoder.Finding{}, false
	}
	if len(conf.Nameservers) == 0 && d.Server.Addr().IsLoopback() {
		f := badFile(conf)
		f.Title = "The client's resolv.conf names no nameserver, so its queries go to its own loopback address, where nobody serves."
		f.Cause = "A resolver without a nameserver asks 127.0.0.1 (resolv.conf(5))."
		return f, true
	}
	return k.noService(conf, d.Server)
}

// askedNobody reports a packet to an address that a resolv.conf names, and the cluster does not serve.
func (k *Facts) askedNobody(to netip.AddrPort) (decoder.Finding, bool) {
	const dns = 53
	if to.Port() != dns {
		return decoder.Finding{}, false
	}
	all := maps.Collect(k.resolvs.All())
	for _, netns := range slices.Sorted(maps.Keys(all)) {
		if f, ok := k.noService(all[netns], to); ok {
			return f, true
		}
	}
	return decoder.Finding{}, false
}

// noService reports a resolv.conf that names an address which is no service's.
func (k *Facts) noService(conf decoder.ResolvConf, asked netip.AddrPort) (decoder.Finding, bool) {
	right, ok := k.clusterDNS(conf, asked)
	if !ok {
		return decoder.Finding{}, false
	}
	f := badFile(conf)
	f.Title = fmt.Sprintf("The client's resolv.conf names %v, which is no service; the cluster's DNS service is %v.", asked.Addr(), right)
	f.Cause = "Whoever wrote the file names an address that the cluster does not serve: a wrong clusterDNS of the kubelet, or the pod's own dnsConfig."
	f.Evidence = append(f.Evidence, fmt.Sprintf("no service has the address %v", asked.Addr()))
	return f, true
}

// badFile is the finding about a resolv.conf.
func badFile(conf decoder.ResolvConf) decoder.Finding {
	f := decoder.Finding{
		ID: "dns-bad-resolv-conf", Severity: decoder.Critical, Confidence: decoder.Certain,
		Subject:  fmt.Sprintf("resolv.conf in netns %d", conf.Netns),
		Evidence: []string{fmt.Sprintf("its nameservers: %s; search: %s", list(conf.Nameservers), orElse(strings.Join(conf.Search, " "), "none"))},
		Remedy:   []string{"look at the pod's spec.dnsPolicy and spec.dnsConfig, and at kubelet's clusterDNS (--cluster-dns)"},
	}
	for _, line := range conf.Bad {
		f.Evidence = append(f.Evidence, fmt.Sprintf("a line that says nothing to a resolver: %q", line))
	}
	return f
}

// clusterDNS finds the cluster's DNS service where the server that was asked is certainly none: in the range of services,
// but none of those that the API or the node's own rules tell of. ok is false if that cannot be said.
func (k *Facts) clusterDNS(conf decoder.ResolvConf, asked netip.AddrPort) (right netip.Addr, ok bool) {
	if !conf.Cluster() || !slices.Contains(conf.Nameservers, asked.Addr()) {
		return right, false
	}
	for _, s := range k.services.facts {
		if s.Source == "resolv" || s.Source == "cidr" {
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
