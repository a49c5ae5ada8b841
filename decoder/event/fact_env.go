// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxEnvServices is how many services are taken from one environment: kubelet writes those of the pod's namespace, but
// a program in the pod can write what it likes.
const maxEnvServices = 64

// ParseServiceEnv reads the services that kubelet names in a container's environment, as /proc has it: NAME_SERVICE_HOST is
// the address, NAME_SERVICE_PORT and NAME_SERVICE_PORT_PORTNAME are the ports, whose protocol the variable NAME_PORT has
// for the first. One without an address and a port is none. They have no names: the variable's is not the service's.
func ParseServiceEnv(environ string) []ServiceFact {
	vars := map[string]string{}
	for line := range strings.SplitSeq(environ, "\x00") {
		if name, value, ok := strings.Cut(line, "="); ok && (strings.Contains(name, "_SERVICE_") || strings.HasSuffix(name, "_PORT")) {
			vars[name] = value
		}
	}
	var all []ServiceFact
	for _, name := range slices.Sorted(maps.Keys(vars)) { // two variables may say different things: the first holds
		value := vars[name]
		prefix, ok := strings.CutSuffix(name, "_SERVICE_HOST")
		addr, err := netip.ParseAddr(value)
		if !ok || err != nil || addr.Zone() != "" {
			continue
		}
		f := ServiceFact{Source: "env", Addrs: []netip.Addr{addr.Unmap()}, Ports: envPorts(vars, prefix)}
		if len(f.Ports) > 0 {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b ServiceFact) int { return a.Addrs[0].Compare(b.Addrs[0]) })
	all = slices.CompactFunc(all, func(a, b ServiceFact) bool { return a.Addrs[0] == b.Addrs[0] })
	return all[:min(len(all), maxEnvServices)]
}

// envPorts are the ports of one service.
func envPorts(vars map[string]string, prefix string) []ServicePort {
	var ports []ServicePort
	base := prefix + "_SERVICE_PORT"
	for _, name := range slices.Sorted(maps.Keys(vars)) { // base is the first, and the one whose protocol is known
		value := vars[name]
		n, err := strconv.ParseUint(value, 10, 16)
		if name != base && !strings.HasPrefix(name, base+"_") || err != nil || n == 0 {
			continue
		}
		p := ServicePort{Proto: "tcp", Port: uint16(n)}
		if proto, _, ok := strings.Cut(vars[prefix+"_PORT"], "://"); ok && name == base && (proto == "udp" || proto == "sctp") {
			p.Proto = proto
		}
		if !slices.ContainsFunc(ports, func(q ServicePort) bool { return q.Port == p.Port }) {
			ports = append(ports, p)
		}
	}
	slices.SortFunc(ports, func(a, b ServicePort) int { return cmp.Compare(a.Port, b.Port) })
	return ports
}
