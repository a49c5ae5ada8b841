package diagnose

import "slices"

// IDs returns the ids of all findings.
func IDs() []string {
	return slices.Concat(PacketIDs(), []string{
		"tls-alert", "tls-certificate-expired", "tls-certificate-not-yet-valid", "tls-unknown-authority", "tls-name-mismatch",
		"fsync-slow", "fsync-neighbour", "fsync-throttled", "fsync-cpu-starved", "fsync-error",
	})
}

// PacketIDs returns the ids of the findings that are concluded from packets, connections and the node's settings. Those
// about TLS begin with "tls-", those about disks with "fsync-", and are not among them.
func PacketIDs() []string {
	return []string{
		"dns-no-response", "dns-server-refused", "dns-servfail", "dns-refused", "dns-nxdomain", "dns-search-amplification",
		"dns-slow", "dns-truncated", "dns-bad-resolv-conf",
		"service-dnat-miss", "service-no-route", "service-no-endpoints", "service-stale-endpoint", "service-reply-not-untranslated",
		"kube-proxy-rules-missing", "conntrack-full", "conntrack-insert-race", "conntrack-invalid",
		"netfilter-drop", "netfilter-reject", "no-route", "ip-forward-disabled", "rp-filter", "martian-source", "neighbour-failed",
		"ttl-exceeded", "socket-buffer-full", "overlay-blocked", "sysctl-wrong",
		"mtu-exceeded", "pmtu-blackhole", "pmtu-icmp-ignored",
		"connection-refused", "reset-by-application", "reset-by-firewall", "reset-by-middlebox", "reset-stale-connection",
		"accept-queue-full",
		"icmp-unreachable", "ports-exhausted", "connect-no-response", "bpf-drop", "queue-drop", "hairpin-disabled", "duplicate-address", "checksum-error", "kernel-drop",
	}
}
