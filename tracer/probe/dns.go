// SPDX-License-Identifier: Apache-2.0

package probe

// DNS is the name of the probe that copies DNS over TCP at sockets.
const DNS = "dns"

// HookDNS is the hook of the dns object.
const HookDNS = "DNS over TCP"

// DNSBackends is the map in which the path object stores the ports to which NAT translates DNS ports.
const DNSBackends = "dns_backends"

func dnsProbe() Probe {
	return Probe{
		Name: DNS,
		Hooks: []Hook{{
			Name:     HookDNS,
			Optional: true,
			Without:  "queries over TCP are not decoded",
		}},
	}
}

// DNSPorts are the ports of DNS servers, at most MaxPorts; more are left out. It implements Globals.
type DNSPorts []uint

func (p DNSPorts) Values() map[string]any { return map[string]any{"dns_ports": portArray(p)} }
