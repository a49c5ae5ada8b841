package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder"
)

// byNetfilter reports whether a packet filter threw the packet away. Kernels without reasons tell it by the function:
// drops of nft_do_chain happen inside it since 6.1.y and 6.12 (NF_DROP_REASON), all others in nf_hook_slow.
func byNetfilter(l decoder.Loss) bool {
	return l.Reason == "NETFILTER_DROP" || strings.HasPrefix(l.Function, "nf_hook_slow") || strings.HasPrefix(l.Function, "nft_do_chain")
}

// meaning is what a drop reason proves.
type meaning struct {
	id     string
	title  string // %v is the server
	cause  string
	remedy []string
}

// meanings are the reasons (enum skb_drop_reason) that name a cause by themselves.
func meanings() map[string]meaning {
	return map[string]meaning{
		"IP_RPFILTER": {"rp-filter", "The reverse-path filter drops DNS packets for %v.",
			"The packet came by another device than the one that leads back to its source.",
			[]string{"sysctl -a --pattern 'net.ipv4.conf.*.rp_filter'"}},
		"IP_INNOROUTES": {"no-route", "The node has no route to pass DNS packets for %v on.",
			"The routing table has no way to the destination.", []string{"ip route", "ip rule"}},
		"IP_OUTNOROUTES": {"no-route", "The node has no route for DNS packets for %v.",
			"The routing table has no way to the destination.", []string{"ip route", "ip rule"}},
		"IP_INADDRERRORS": {"no-route", "The node does not pass on DNS packets for %v.",
			"The destination cannot be reached from the device that the packet came by.", []string{"ip route", "sysctl net.ipv4.ip_forward"}},
		"NEIGH_FAILED": {"neighbour-failed", "Nobody answers ARP or neighbour discovery on the way to %v.",
			"The next host on the way is down, or not on this link.", []string{"ip neigh"}},
		"SOCKET_RCVBUFF": {"socket-buffer-full", "The DNS server or client at %v does not read fast enough.",
			"The receiving socket's buffer was full.", []string{"ss -uamp"}},
		"NO_SOCKET": {"dns-server-refused", "Nothing listens at the DNS server %v.",
			"The packet reached the host, and no socket was open for it.", []string{"ss -ulpn"}},
		"PKT_TOO_BIG": {"mtu-exceeded", "DNS packets for %v are too big for a device on the way.",
			"The packet is larger than the device's MTU and may not be cut up.", []string{"ip -s link"}},
	}
}

// queryDropped reports a drop whose reason names the cause.
func queryDropped(e decoder.Event, d decoder.DNS) (decoder.Finding, bool) {
	if d.Drop == nil {
		return decoder.Finding{}, false
	}
	m, ok := meanings()[d.Drop.Reason]
	if !ok || d.Drop.Answer && d.Drop.Reason == "NO_SOCKET" { // the client gave up before
		return decoder.Finding{}, false
	}
	return decoder.Finding{
		ID: m.id, Severity: decoder.Critical, Confidence: decoder.Certain, Subject: fmt.Sprintf("%v in netns %d", d.Server, d.Drop.Netns),
		Title: fmt.Sprintf(m.title, server(d)), Cause: m.cause,
		Evidence: []string{question(e, d), "dropped " + d.Drop.String(), fmt.Sprintf("reason %s in %s", d.Drop.Reason, d.Drop.Function)},
		Remedy:   m.remedy,
	}, true
}
