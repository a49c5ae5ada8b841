// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"net/netip"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

func (s story) service(f event.ServiceFact) { s.fact(1, event.Fact{Service: &f}) }

func TestServiceAddressesAreNamed(t *testing.T) {
	dns := netip.MustParseAddr("10.96.0.10")
	udp53 := []event.ServicePort{{Proto: "udp", Port: 53}}
	query := &packet.Packet{Proto: "udp", Src: addr("10.0.0.1"), Sport: 40000, Dst: dns, Dport: 53}
	s := twoPods(t)
	s.service(event.ServiceFact{Namespace: "kube-system", Name: "from-rules", Source: "iptables", Netns: hostNetns, Addrs: []netip.Addr{dns}, Ports: udp53})
	e := s.event(2, event.Header{Netns: 100, Direction: event.Out}, query)
	if e.Pod.Name != "web" || e.Peer != (event.Pod{Service: "kube-system/from-rules", Source: "iptables"}) {
		t.Errorf("%+v, %+v", e.Pod, e.Peer)
	}
	s.service(event.ServiceFact{Namespace: "kube-system", Name: "kube-dns", Source: "api", Addrs: []netip.Addr{dns}, Ports: udp53})
	s.service(event.ServiceFact{Namespace: "kube-system", Name: "other-port", Source: "api", Addrs: []netip.Addr{dns}})
	if e := s.event(2, event.Header{Netns: hostNetns}, query); e.Peer.Service != "kube-system/kube-dns" || e.Pod.Name != "web" {
		t.Errorf("%+v, %+v", e.Pod, e.Peer)
	}
	answer := &packet.Packet{Proto: "udp", Src: dns, Sport: 53, Dst: addr("10.0.0.1"), Dport: 40000}
	if e := s.event(2, event.Header{Netns: hostNetns}, answer); e.Peer.Service != "kube-system/kube-dns" || e.Pod.Name != "web" {
		t.Errorf("the answer: %+v, %+v", e.Pod, e.Peer)
	}
	for _, gone := range []event.ServiceFact{{Name: "kube-dns", Source: "api"}, {Name: "other-port", Source: "api"}, {Name: "from-rules", Source: "iptables", Netns: hostNetns}} {
		gone.Namespace, gone.Gone = "kube-system", true
		s.service(gone)
	}
	if e := s.event(2, event.Header{Netns: 100}, query); e.Peer != (event.Pod{}) || len(s.services.byAddr) > 0 {
		t.Errorf("%+v, %+v", e.Peer, s.services)
	}
}
