// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"net/netip"
	"slices"
	"testing"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer/netns"
)

func TestDevicesOfANamespaceAndWhereTheirPeersAre(t *testing.T) {
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	handle := func(ns *lab.NS) *netns.Handle {
		s, err := netns.Open(ns.Path())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	inPod, onNode := handle(pod.NS), handle(c.Node)
	eth0 := find(t, inPod, "eth0", onNode)
	veth := find(t, onNode, pod.Veth, inPod)
	if eth0.PeerNetns != onNode.Inode || eth0.PeerIndex != veth.Ifindex || veth.PeerNetns != inPod.Inode || veth.PeerIndex != eth0.Ifindex {
		t.Errorf("not each other's peer: %+v and %+v", eth0, veth)
	}
	if want := netip.MustParsePrefix(pod.Addr + "/24"); !slices.Contains(eth0.Addrs, want) {
		t.Errorf("addresses %v, want %v among them", eth0.Addrs, want)
	}
	if eth0.Type != "veth" || eth0.MTU != 1500 {
		t.Errorf("type %q, MTU %d", eth0.Type, eth0.MTU)
	}
	if stranger := find(t, inPod, "eth0"); stranger.PeerNetns != 0 {
		t.Errorf("peer's namespace %d, though no others were given", stranger.PeerNetns)
	}
}

func find(t *testing.T, s *netns.Handle, name string, others ...*netns.Handle) event.Device {
	t.Helper()
	devices, err := s.Devices(others...)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(devices, func(d event.Device) bool { return d.Name == name })
	if i < 0 {
		t.Fatalf("no %s among %+v", name, devices)
	}
	return devices[i]
}
