// SPDX-License-Identifier: Apache-2.0

package filtertest

// Expressions are filters whose meaning is libpcap's to the letter.
func Expressions() []string {
	return []string{
		"", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp",
		"ah", "esp", "stp", "iso", "netbeui", "decnet", "lat", "moprc", "mopdl", "sca", "pppoed",
		"not ip", "! tcp", "not not udp", "not (ip or ip6)", "tcp or udp", "tcp or udp or icmp", "ip and tcp", "ip6 and tcp",
		"icmp or arp", "icmp or icmp6", "tcp and not port 80", "not tcp port 80", "not port 53", "not (tcp or arp)",
		// Hosts.
		"host 10.244.1.2", "src host 10.244.1.2", "dst host 10.244.1.2", "src 10.244.1.2", "dst 192.168.1.10",
		"src or dst host 93.184.216.34", "src and dst host 127.0.0.1", "dst and src host 10.244.1.2", "ip host 10.244.1.2",
		"arp host 10.244.1.2", "arp src host 192.168.1.10", "arp dst 192.168.1.10", "rarp host 10.244.1.2",
		"host 10.244.1.2 or 10.96.0.10", "host 10.244.1.2 and 10.96.0.10", "host 10.244.1.2 and not 10.96.0.10",
		"host (10.96.0.10 or 93.184.216.34)", "not host 10.244.1.2 and not 192.168.1.10", "host not 10.244.1.2",
		"not host 10.244.1.2", "src host 10.244.1.2 and dst port 53", "host 10.244", "src host 192.168", "host 10", "src 10",
		"host 2001:db8:42::2", "src host 2001:db8:42::2", "dst host fe80::1", "ip6 host ff02::1", "src and dst host ::1",
		"host 2001:db8:42::2 or fd00:10:96::a", "host 10.244.1.2 or host 2001:db8:42::2", "host ::ffff:10.244.1.2",
		"not src host 2001:db8:42::2", "host 2001:db8::10/128",
		// Networks.
		"net 10.244.0.0/16", "net 10.0.0.0/8", "src net 10.96.0.0/12", "dst net 10.96.0.0/12", "net 10", "net 10.244", "net 10.244.1",
		"net 192.168.1.10", "net 192.168.0.0 mask 255.255.0.0", "not net 10.0.0.0/8", "ip net 10.244.1.0/24", "arp net 10.0.0.0/8",
		"net 0.0.0.0/0", "net 256", "net 127", "net 10.244.1.2/31", "dst net 224.0.0.0/4", "net 2001:db8::/32", "src net 2001:db8:42::/48",
		"dst net fe80::/10", "net ff00::/8", "net ::/0", "ip6 net fd00::/8", "net 2001:db8::/33", "not net 2001:db8::/32",
		"src net 10.0.0.0/8 or 192.168.0.0/16", "net 10.244.0.0/16 and not host 10.244.1.2",
		// Ports.
		"port 80", "port 53", "src port 53", "dst port 53", "tcp port 80", "udp port 53", "sctp port 80", "port 80 or 443",
		"tcp port 80 or 443 or 8080", "tcp dst port 80 or 443", "src and dst port 53", "src or dst port 22", "tcp src port 80",
		"udp src or dst port 53", "port (80 or 443)", "not port 80 and not 443", "port 0x50", "port 0120", "port http", "port domain",
		"tcp port domain", "udp port domain", "port https", "port ssh or ntp", "dst port 53 and udp", "(tcp or udp) and port 53",
		"port 80 or (tcp) and 22", "port 0", "port 65535",
		"portrange 1-1023", "portrange 80-90", "tcp portrange 8000-9000", "udp portrange 50-60", "src portrange 30000-65535",
		"dst portrange 1-1023", "portrange 90-80", "portrange 80", "portrange ssh-https", "tcp portrange domain-https",
		"sctp dst portrange 1-100", "src and dst portrange 50-60", "not portrange 1-1023", "portrange 0-65535",
		"tcp portrange 8000-9000 and not host 10.244.1.2", "portrange 79-81 or 440-450",
		// Protocols by number and name.
		"ip proto 6", "ip proto 17", "ip6 proto 6", "ip6 proto 17", "ip6 proto 58", "ip6 proto 44", "ip6 proto 0", "proto 6", "proto 47",
		"proto gre", "ip proto gre", "proto ospf", `ip proto \tcp`, `ip6 proto \udp`, `ip proto \icmp or \udp`, "ip proto (6 or 17)",
		"ip proto 300", "not proto 6", `ether proto \arp`, `ether proto \ip6`, "ether proto 0x0800", "ether proto 0x88cc",
		"ether proto 0x86dd or 0x0806", "ether proto 5", "ether proto 66", "ether proto 6", `ether proto \stp`, `ether proto \loopback`,
		"not ether proto 0x0800", "ip proto 4", "ip proto 50 or ip proto 51",
		// Ethernet.
		"ether host 02:00:00:00:00:01", "ether src 02:00:00:00:00:01", "ether dst 0a:58:0a:f4:01:02", "ether src host 2:0:0:0:0:1",
		"ether host 020000000001", "ether host 0a58.0af4.0102", "ether dst ff-ff-ff-ff-ff-ff", "ether src and dst 02:00:00:00:00:01",
		"not ether dst ff:ff:ff:ff:ff:ff", "ether src 2.0.0.0.0.1 or 0a:58:0a:f4:01:02", "ether broadcast", "broadcast", "ether multicast",
		"multicast", "not multicast", "ip broadcast", "ip multicast", "ip6 multicast", "not broadcast and not multicast",
		"link proto 0x0806", "link[0] & 1 = 1",
		// VLAN and MPLS.
		"vlan", "vlan 5", "vlan 100", "vlan 0", "vlan (5)", "not vlan", "vlan and ip", "vlan and tcp", "vlan 5 and tcp port 80", "vlan and ip6",
		"vlan and vlan", "vlan 300 and vlan 5", "vlan and vlan 300 and udp", "vlan and vlan and tcp port 80", "vlan or ip", "ip or vlan 5",
		"tcp or (vlan and tcp)", "vlan and arp", "vlan and host 10.244.1.2", "vlan and ip[8] > 10", "vlan and not tcp", "vlan and ether src 02:00:00:00:00:01",
		"port 53 or (vlan and port 53)", "ether[12:2] = 0x8100 and ether[14:2] & 0xfff = 5",
		"mpls", "mpls 100000", "mpls 16 and mpls 1024", "mpls and mpls", "mpls and ip", "mpls and ip6", "mpls and tcp port 80",
		"mpls and host 10.244.1.2", "mpls 5 and udp", "vlan and mpls", "vlan and mpls 5 and ip", "mpls and ip[9] = 6",
		// What is known beside the packet.
		"inbound", "outbound", "not inbound", "inbound and tcp", "outbound or udp", "ifindex 3", "ifindex 4 or arp",
		// Length.
		"less 64", "greater 100", "len > 60", "len = 60", "len <= 42", "len != 54", "less 0x40 and ip", "greater 1000 or arp", "length >= 1454",
		// Arithmetic.
		"ip[0] & 0xf != 5", "ip[0] & 0xf > 5", "ip[6:2] & 0x1fff = 0", "ip[6:2] & 0x2000 != 0", "ip[8] < 64", "ip[2:2] > 576", "ip[9] = 6",
		"ip[12:4] = 0x0af40102", "ip[16] >= 224", "ether[0] & 1 = 0 and ip[16] >= 224", "ip6[6] = 58", "ip6[6:1] == 6", "ip6[4:2] > 40",
		"ip6[0] & 0xf0 = 0x60", "ip6[24:4] = 0xff020000", "arp[6:2] = 1", "arp[6:2] = 2 or rarp", "arp[14:4] = 0x0af40102",
		"icmp[icmptype] = icmp-echo", "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply", "icmp[0] = 3 and icmp[1] = 4",
		"icmp[icmptype] = icmp-unreach and icmp[icmpcode] = 4", "icmp[6:2] < 1501", "icmp6[icmp6type] = icmp6-echo",
		"icmp6[icmp6type] = icmp6-packettoobig", "icmp6[0] = icmp6-neighborsolicit", "icmp6[4:4] = 1280", "igmp[0] = 0x11", "pim[0] = 0x20",
		"vrrp[0] = 0x31", "ether[0] & 1 != 0", "ether[6:4] = 0x02000000", "ether[100] = 0 or ip", "ether[12:2] > 1500", "lat[0] = 1",
		"tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)", "ip[0] + tcp[13] = 71", "ip[2:2] - 40 > 0",
		"ip[ip[0] & 0xf] = 0", "ip[(ip[0] & 0xf) << 2] = 0x9c", "ip[(ip[0] & 0xf) * 4 : 2] = 40000", "ether[len - 1] = 0", "ether[ether[14] - 60] = 0xaa",
		"ip[8] * 2 > 100", "ip[8] / 2 = 31", "ip[8] % 10 = 3", "ip[8] ^ 63 = 0", "ip[8] | 1 = 63", "ip[8] << 1 = 126", "ip[8] >> 2 = 15",
		"ip[0]*2 % 3 + 1 = 136", "ip[8] - 64 > 0", "- ip[8] > 5", "ip[8] / (ip[1] + 0) = 1", "ip[8] / ip[9] = 10", "len / ip[1] = 1",
		"ip[8] << ip[8] = 0", "1 << ip[1] = 1", "ip[8] >> (ip[8] & 31) = 0", "63 = ip[8]", "60 < ip[8]", "63 >= ip[8]", "ip[8] < ip[9]", "ip[8] > ip[0]",
		"ip[8] = 63 and not ip[9] = 6", "5 = 5", "5 > 6", "(5 = 5) and tcp", "5 + 5 = 10 and udp", "ip[6:2] & 0x1fff != 0 or arp",
		"ip[0 - 1] = 0", "ip[ip[0] - 200] = 0", "tcp[0 - 1] = 0 and ip[0] > 0", "ip[0] & 0 = 0", "2 + tcp[13] = 4", "len - ip[0] > 20", "(ip[0]) = 0x45", "((ip[9])) = (17)",
		"ip[10:2] = 0 and ip[4:2] = 0x1234", "ip[12:4] & 0xffff0000 = 0x0af40000", "ip[12:4] = ip[16:4]", "ip[16:4] - ip[12:4] < 100",
		"ether[0:4] = 0xffffffff and ether[4:2] = 0xffff", "udp[8:2] = 0x1234 and ip", "tcp[0:2] = 80 and ip[8] > 3",
		// Precedence and grouping.
		"tcp or udp and port 53", "port 53 and udp or tcp", "host 10.96.0.10 or host 10.244.1.2 and udp", "not tcp and udp", "not tcp or ip6",
		"not (tcp and port 80)", "(tcp and port 80) or (udp and port 53)", "((((udp))))", "ip and (tcp or (udp and (port 53 or port 123)))",
		"tcp && port 80 || udp && port 53", "!(ip && !(tcp || udp))", "tcp and port 80 and host 10.244.1.2 and greater 60",
		"not (not tcp and not udp)", "tcp port 80 and src net 10.0.0.0/8 and not dst host 192.168.1.10",
		"icmp or icmp6 or arp or (udp and port 53)", "ip host 93.184.216.34 and not 10.96.0.10", "tcp or not tcp", "ip and not ip",
	}
}

// Extension is a filter that libpcap has no word for in this form, and one that says to libpcap what it means here.
type Extension struct{ Ours, Libpcap string }

// Extensions are the documented differences.
func Extensions() []Extension {
	tcp6 := func(rel string) string { return " or (ip6 and ip6[6] = 6 and (" + rel + "))" }
	udp6 := func(rel string) string { return " or (ip6 and ip6[6] = 17 and (" + rel + "))" }
	both := func(expr, in6 string, is func(string) string) Extension {
		return Extension{expr, "(" + expr + ")" + is(in6)}
	}
	return []Extension{
		both("tcp[13] & 2 != 0", "ip6[53] & 2 != 0", tcp6),
		both("tcp[tcpflags] & (tcp-syn|tcp-ack) != 0", "ip6[53] & 0x12 != 0", tcp6),
		both("tcp[tcpflags] == tcp-syn", "ip6[53] = 2", tcp6),
		both("tcp[tcpflags] & (tcp-rst|tcp-ack) == (tcp-rst|tcp-ack)", "ip6[53] & 0x14 = 0x14", tcp6),
		both("tcp[tcpflags] & tcp-push = 0", "ip6[53] & 8 = 0", tcp6),
		both("tcp[0:2] = 443", "ip6[40:2] = 443", tcp6),
		both("tcp[2:2] > 100", "ip6[42:2] > 100", tcp6),
		both("tcp[0:2] > tcp[2:2]", "ip6[40:2] > ip6[42:2]", tcp6),
		both("tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420", "ip6[40 + ((ip6[52] & 0xf0) >> 2):4] = 0x47455420", tcp6),
		both("udp[4:2] > 20", "ip6[44:2] > 20", udp6),
		both("udp[8:2] = 0x1234", "ip6[48:2] = 0x1234", udp6),
		both("udp[10] & 0x80 = 0", "ip6[50] & 0x80 = 0", udp6),
		both("udp[udp[5] & 15] = 0", "ip6[40 + (ip6[45] & 15)] = 0", udp6),
		{"sctp[12] = 1", "(sctp[12] = 1) or (ip6 and ip6[6] = 132 and ip6[52] = 1)"},
		{"not (tcp[13] & 2 != 0)", "not ((tcp[13] & 2 != 0) or (ip6 and ip6[6] = 6 and ip6[53] & 2 != 0))"},
		{"vlan and tcp[13] = 2", "vlan and (tcp[13] = 2 or (ip6 and ip6[6] = 6 and ip6[53] = 2))"},
		{"ip proto tcp", `ip proto \tcp`},
		{"proto udp or icmp", `proto \udp or proto \icmp`},
		{"ether proto arp", `ether proto \arp`},
		{"tcp port kubernetes", "tcp port 6443"},
		{"port etcd-client or etcd-server", "tcp port 2379 or 2380"},
	}
}
