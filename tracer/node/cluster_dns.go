// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/netip"

	"ktrace/decoder/event"
	"ktrace/tracer/kube"
	"ktrace/tracer/procfs"
)

// clusterDNS is the fact of the DNS service that the kubelet is configured to name in the resolv.conf of pods; none if no file
// of the node says it. A server on the node itself (a cache at a link-local address) is no service.
func clusterDNS(node *procfs.FS) []event.Fact {
	var addrs []netip.Addr
	for _, text := range kube.ReadKubeletConfig(node).ClusterDNS {
		if a, err := netip.ParseAddr(text); err == nil && a.IsGlobalUnicast() {
			addrs = append(addrs, a.Unmap())
		}
	}
	if len(addrs) == 0 {
		return nil
	}
	return []event.Fact{{Service: &event.ServiceFact{
		Source: "kubelet", Addrs: addrs,
		Ports: []event.ServicePort{{Name: "dns", Proto: "udp", Port: portDNS}, {Name: "dns-tcp", Proto: "tcp", Port: portDNS}},
	}}}
}
