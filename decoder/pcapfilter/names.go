// SPDX-License-Identifier: Apache-2.0

package pcapfilter

// proto is a protocol qualifier.
type proto uint8

const (
	protoAny proto = iota
	protoLink
	protoIP
	protoIP6
	protoARP
	protoRARP
	protoTCP
	protoUDP
	protoSCTP
	protoICMP
	protoICMP6
	protoIGMP
	protoIGRP
	protoPIM
	protoVRRP
	protoCARP
	protoAH
	protoESP
	protoDECnet
	protoLAT
	protoSCA
	protoMOPRC
	protoMOPDL
	protoSTP
	protoISO
	protoNetBEUI
)

// protocol is what a protocol qualifier stands for. Link layer protocols have an EtherType (or a
// service access point, below 1501), protocols over IP have a number and the versions they come in.
type protocol struct {
	name      string
	etherType uint32
	number    uint32
	ip4, ip6  bool
	indexable bool // name[..] may be written
}

var protocols = [...]protocol{
	protoAny:     {},
	protoLink:    {name: "ether", indexable: true},
	protoIP:      {name: "ip", etherType: etherIP, indexable: true},
	protoIP6:     {name: "ip6", etherType: etherIP6, indexable: true},
	protoARP:     {name: "arp", etherType: etherARP, indexable: true},
	protoRARP:    {name: "rarp", etherType: etherRARP, indexable: true},
	protoTCP:     {name: "tcp", number: 6, ip4: true, ip6: true, indexable: true},
	protoUDP:     {name: "udp", number: 17, ip4: true, ip6: true, indexable: true},
	protoSCTP:    {name: "sctp", number: 132, ip4: true, ip6: true, indexable: true},
	protoICMP:    {name: "icmp", number: 1, ip4: true, indexable: true},
	protoICMP6:   {name: "icmp6", number: 58, ip6: true, indexable: true},
	protoIGMP:    {name: "igmp", number: 2, ip4: true, indexable: true},
	protoIGRP:    {name: "igrp", number: 9, ip4: true, indexable: true},
	protoPIM:     {name: "pim", number: 103, ip4: true, ip6: true, indexable: true},
	protoVRRP:    {name: "vrrp", number: 112, ip4: true, indexable: true},
	protoCARP:    {name: "carp", number: 112, ip4: true, indexable: true},
	protoAH:      {name: "ah", number: 51, ip4: true, ip6: true},
	protoESP:     {name: "esp", number: 50, ip4: true, ip6: true},
	protoDECnet:  {name: "decnet", etherType: 0x6003, indexable: true},
	protoLAT:     {name: "lat", etherType: 0x6004, indexable: true},
	protoSCA:     {name: "sca", etherType: 0x6007, indexable: true},
	protoMOPRC:   {name: "moprc", etherType: 0x6002, indexable: true},
	protoMOPDL:   {name: "mopdl", etherType: 0x6001, indexable: true},
	protoSTP:     {name: "stp", etherType: 0x42},
	protoISO:     {name: "iso", etherType: sapISO},
	protoNetBEUI: {name: "netbeui", etherType: sapNetBEUI},
}

// EtherTypes, and the 802.2 service access points that libpcap compares in both fields.
const (
	etherIP       = 0x0800
	etherARP      = 0x0806
	etherRARP     = 0x8035
	etherIP6      = 0x86dd
	etherVLAN     = 0x8100
	etherVLAN9100 = 0x9100
	etherQinQ     = 0x88a8
	etherMPLS     = 0x8847
	etherPPPoED   = 0x8863

	sapIP      = 0x06
	sapNetBEUI = 0xf0
	sapISO     = 0xfe

	maxLength8023 = 1500 // above it the field is an EtherType, up to it a length

	protoFragment = 44 // IPv6 fragment header
)

// protoNamed finds a protocol qualifier by its word.
func protoNamed(word string) (proto, bool) {
	for i := range protocols {
		if protocols[i].name == word && word != "" {
			return proto(i), true
		}
	}
	return protoAny, false
}

// aliases are words and signs with one meaning and several spellings.
var aliases = map[string]string{
	"link": "ether", "ppp": "ether", "slip": "ether", "fddi": "ether", "tr": "ether", "wlan": "ether",
	"&&": "and", "||": "or", "!": "not", "==": "=", "length": "len",
}

// words are the other words of the language.
var words = map[string]bool{
	"src": true, "dst": true, "host": true, "net": true, "mask": true, "port": true, "portrange": true,
	"proto": true, "less": true, "greater": true, "broadcast": true, "multicast": true, "and": true,
	"or": true, "not": true, "len": true, "inbound": true, "outbound": true, "ifindex": true,
	"vlan": true, "mpls": true, "pppoed": true,
}

const (
	noHere    = "is for links that this program does not read"
	noTunnel  = "is not supported: its header has no fixed place"
	noPF      = "is only for packets logged by pf"
	noISIS    = "is not supported: IS-IS and its like are not read"
	noIfname  = "is only for packets logged by pf; choose interfaces outside the filter"
	noNovell  = "is not supported; an EtherType can be matched with ether[12:2]"
	noGateway = "needs host names; write: ether host MAC and not host ADDRESS"
)

// refused are words of pcap-filter(7) that are not supported, and why.
var refused = map[string]string{
	"gateway":    noGateway,
	"protochain": "is a loop, which the kernel refuses; write ip6 proto N, or compare ip6[6] and what follows it",
	"geneve":     noTunnel, "pppoes": noTunnel, "vxlan": noTunnel,
	"llc": noNovell, "atalk": noNovell, "aarp": noNovell, "ipx": noNovell,
	"byte": "is not supported; write ether[N] = M", "radio": noHere,
	"ifname": noIfname, "on": noIfname, "rset": noPF, "ruleset": noPF, "rnr": noPF, "rulenum": noPF,
	"srnr": noPF, "subrulenum": noPF, "reason": noPF, "action": noPF,
	"type": noHere, "subtype": noHere, "direction": noHere, "dir": noHere, "ra": noHere, "ta": noHere,
	"address1": noHere, "address2": noHere, "address3": noHere, "address4": noHere,
	"addr1": noHere, "addr2": noHere, "addr3": noHere, "addr4": noHere,
	"lane": noHere, "metac": noHere, "bcc": noHere, "oam": noHere, "oamf4": noHere, "oamf4ec": noHere,
	"oamf4sc": noHere, "sc": noHere, "ilmic": noHere, "vpi": noHere, "vci": noHere,
	"connectmsg": noHere, "metaconnect": noHere, "fisu": noHere, "lssu": noHere, "lsu": noHere,
	"msu": noHere, "hfisu": noHere, "hlssu": noHere, "hmsu": noHere, "sio": noHere, "opc": noHere,
	"dpc": noHere, "sls": noHere, "hsio": noHere, "hopc": noHere, "hdpc": noHere, "hsls": noHere,
	"esis": noISIS, "es-is": noISIS, "isis": noISIS, "is-is": noISIS, "clnp": noISIS, "l1": noISIS,
	"l2": noISIS, "iih": noISIS, "lsp": noISIS, "snp": noISIS, "csnp": noISIS, "psnp": noISIS,
}

// constants are names for offsets and values in arithmetic (pcap-filter(7); numbers from RFC 792, 4443, 9293).
var constants = map[string]uint32{
	"icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1, "tcpflags": 13,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
	"icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12,
	"icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16,
	"icmp-maskreq": 17, "icmp-maskreply": 18,
	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3,
	"icmp6-parameterproblem": 4, "icmp6-echo": 128, "icmp6-echoreply": 129,
	"icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
	"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134,
	"icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	"icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139, "icmp6-nodeinformationresponse": 140,
	"icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
	"icmp6-multicastlistenerreportv2": 143, "icmp6-homeagentdiscoveryrequest": 144,
	"icmp6-homeagentdiscoveryreply": 145, "icmp6-mobileprefixsolicit": 146,
	"icmp6-mobileprefixadvert": 147, "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152,
	"icmp6-multicastrouterterm": 153,
	"tcp-fin":                   0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10,
	"tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,
}

// ipProtocols are the names that proto, ip proto and ip6 proto know (IANA protocol numbers).
var ipProtocols = map[string]uint32{
	"ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "dccp": 33,
	"ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
	"ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "eigrp": 88, "ospf": 89, "ipip": 94,
	"etherip": 97, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
	"mpls-in-ip": 137,
}

// etherProtocols are the names that ether proto knows.
var etherProtocols = map[string]uint32{
	"ip": etherIP, "ip6": etherIP6, "arp": etherARP, "rarp": etherRARP, "decnet": 0x6003, "lat": 0x6004,
	"sca": 0x6007, "moprc": 0x6002, "mopdl": 0x6001, "loopback": 0x9000, "stp": 0x42,
	"iso": sapISO, "netbeui": sapNetBEUI,
}

// service is a port by name; proto is protoAny when it is not bound to one transport.
type service struct {
	port  uint32
	proto proto
}

// services follow Debian's /etc/services, with the ports of a cluster that it lacks.
var services = map[string]service{
	"ftp-data": {20, protoTCP}, "ftp": {21, protoTCP}, "ssh": {22, protoTCP}, "telnet": {23, protoTCP},
	"smtp": {25, protoTCP}, "domain": {53, protoAny}, "bootps": {67, protoUDP}, "bootpc": {68, protoUDP},
	"tftp": {69, protoUDP}, "http": {80, protoTCP}, "www": {80, protoTCP}, "kerberos": {88, protoAny},
	"pop3": {110, protoTCP}, "sunrpc": {111, protoAny}, "ntp": {123, protoUDP}, "netbios-ns": {137, protoUDP},
	"imap2": {143, protoTCP}, "imap": {143, protoTCP}, "snmp": {161, protoAny}, "snmp-trap": {162, protoAny},
	"bgp": {179, protoTCP}, "ldap": {389, protoAny}, "https": {443, protoAny}, "microsoft-ds": {445, protoTCP},
	"isakmp": {500, protoUDP}, "syslog": {514, protoUDP}, "dhcpv6-client": {546, protoUDP},
	"dhcpv6-server": {547, protoUDP}, "submission": {587, protoTCP}, "ldaps": {636, protoAny},
	"domain-s": {853, protoAny}, "rsync": {873, protoTCP}, "imaps": {993, protoTCP},
	"radius": {1812, protoAny}, "nfs": {2049, protoAny}, "mysql": {3306, protoTCP},
	"ipsec-nat-t": {4500, protoUDP}, "sip": {5060, protoAny}, "mdns": {5353, protoUDP},
	"postgresql": {5432, protoTCP}, "amqp": {5672, protoAny}, "redis": {6379, protoTCP},
	"syslog-tls": {6514, protoTCP}, "http-alt": {8080, protoTCP},
	"etcd-client": {2379, protoTCP}, "etcd-server": {2380, protoTCP}, "vxlan": {4789, protoUDP},
	"kubernetes": {6443, protoTCP}, "kubelet": {10250, protoTCP},
}
