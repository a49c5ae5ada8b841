// SPDX-License-Identifier: Apache-2.0

package node

import (
	"maps"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
	"ktrace/tracer/netns"
)

// servers decides which servers ktrace may connect to because a client did. Pods choose whom they connect to, and a connection
// of ktrace's may be trusted more than one of theirs.
type servers struct {
	o       *Reader
	any     bool                    // the user asked for all
	home    uint32                  // the node's own network namespace
	control map[netip.AddrPort]bool // the API server's service and its endpoints
}

// maxControl is how many addresses of API servers are remembered.
const maxControl = 256

func newServers(o *Reader, any bool) servers {
	home, err := netns.Inode("/proc/self/ns/net")
	if err != nil {
		home = 0 // the node's fact has it
	}
	return servers{o: o, any: any, home: home, control: map[netip.AddrPort]bool{}}
}

// learn takes in what the node's namespace is, and the addresses of the API server.
func (s *servers) learn(f event.Fact) {
	switch {
	case f.Node != nil:
		s.home = f.Node.Netns
	case f.Service != nil && f.Service.Namespace == "default" && f.Service.Name == "kubernetes":
		for _, p := range f.Service.Ports {
			at := slices.Clone(p.Endpoints)
			for _, a := range f.Service.Addrs {
				at = append(at, netip.AddrPortFrom(a, p.Port))
			}
			for _, a := range at {
				if len(s.control) < maxControl {
					s.control[netip.AddrPortFrom(a.Addr().Unmap(), a.Port())] = true
				}
			}
		}
	}
}

// may reports whether a server that a client in a namespace connected to may be asked.
func (s *servers) may(server netip.AddrPort, netns uint32) bool {
	a := server.Addr().Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return false
	case s.any:
		return true
	case a.IsLinkLocalUnicast(), slices.Contains(metadataAddrs(), a):
		return false
	case slices.Contains(controlPorts(), server.Port()), s.control[netip.AddrPortFrom(a, server.Port())]:
		return false
	case a.IsLoopback():
		return netns != s.home
	}
	return !s.ofNode(a)
}

// ofNode reports whether an address is the node's own, or may be.
func (s *servers) ofNode(a netip.Addr) bool {
	own := true
	n, err := s.o.open(s.home)
	if err != nil {
		return own
	}
	defer n.Close()
	if inner := n.Do(func() error { own, err = local(a); return nil }); inner != nil || err != nil {
		return true
	}
	return own
}

// metadataAddrs are those at which clouds tell a machine its credentials, beside the link-local ones.
func metadataAddrs() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"),   // AWS
		netip.MustParseAddr("fd20:ce::254"),    // Google
		netip.MustParseAddr("168.63.129.16"),   // Azure
		netip.MustParseAddr("100.100.100.200"), // Alibaba
		netip.MustParseAddr("192.0.0.192"),     // Oracle
	}
}

// controlPorts are those of Kubernetes' control plane (kubernetes.io, "Ports and Protocols").
func controlPorts() []uint16 {
	return slices.Sorted(maps.Keys(map[uint16]string{
		2379: "etcd, clients", 2380: "etcd, members", 6443: "API server",
		10250: "kubelet", 10257: "controller manager", 10259: "scheduler", 10256: "kube-proxy",
	}))
}
