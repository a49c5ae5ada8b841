package tracer

import "ktrace/bpf"

// DNSProbe is the name of the probe that takes what sockets say of DNS over TCP.
const DNSProbe = "dns"

// dnsBackends is the map by which the path object hands it the ports that those of servers are translated to.
const dnsBackends = "dns_backends"

func dnsProbe() Probe {
	return Probe{
		Name: DNSProbe,
		Load: bpf.LoadDns,
		Hooks: []Hook{{
			Name:     "DNS over TCP",
			Variants: []Variant{{Name: "cgroup_skb", Programs: []string{"dns_out", "dns_in"}}},
			Optional: true,
			Without:  "queries over TCP are not decoded",
		}},
	}
}

// DNSPorts returns the ports of DNS servers as Options want them; those beyond MaxPorts are left out.
func DNSPorts(ports []uint) map[string]any {
	var all [MaxPorts]uint16
	for i, p := range ports[:min(len(ports), MaxPorts)] {
		all[i] = uint16(p)
	}
	return map[string]any{"dns_ports": all}
}
