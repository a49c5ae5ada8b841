package tracer

import "ktrace/bpf"

// DNSProbe is the name of the probe that takes what sockets say of DNS over TCP.
const DNSProbe = "dns"

// HookDNS is the hook of the object.
const HookDNS = "DNS over TCP"

// dnsBackends is the map by which the path object hands it the ports that those of servers are translated to.
const dnsBackends = "dns_backends"

func dnsProbe() Probe {
	return Probe{
		Name: DNSProbe,
		Load: bpf.LoadDns,
		Hooks: []Hook{{
			Name:     HookDNS,
			Variants: []Variant{{Name: "cgroup_skb", Programs: []string{"dns_out", "dns_in"}}},
			Optional: true,
			Without:  "queries over TCP are not decoded",
		}},
	}
}

// DNSPorts are those of DNS servers; those beyond MaxPorts are left out. They are of type Globals.
type DNSPorts []uint

func (p DNSPorts) globals() map[string]any { return map[string]any{"dns_ports": portArray(p)} }
