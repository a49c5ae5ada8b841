// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"bytes"
	"slices"
)

// oneWayPorts are those of protocols over UDP that have no answers (IANA, or by convention).
func oneWayPorts() map[uint16]string {
	return map[uint16]string{
		67: "DHCP, which others answer", 68: "DHCP", 547: "DHCPv6, which others answer", 137: "NetBIOS", 138: "NetBIOS", 162: "an SNMP trap",
		514: "syslog", 1514: "syslog", 5140: "syslog", 8125: "statsd", 8126: "statsd", 9125: "statsd", 2003: "Graphite", 2055: "NetFlow", 2056: "NetFlow",
		4739: "IPFIX", 6343: "sFlow", 9995: "NetFlow", 9996: "NetFlow", 12201: "GELF", 25826: "collectd", 6831: "Jaeger", 6832: "Jaeger", 8089: "InfluxDB", 8094: "Telegraf",
		1900: "SSDP", 5353: "mDNS", 5355: "LLMNR",
	}
}

// withoutAnswers names the protocol of a datagram if it is one that has no answers, by its port or by what it carries.
func withoutAnswers(port uint16, b []byte) string {
	switch what := oneWayPorts()[port]; {
	case what != "":
		return what
	case isSyslog(b):
		return "syslog"
	case isStatsd(b):
		return "statsd"
	case bytes.HasPrefix(b, []byte{0x1e, 0x0f}), bytes.HasPrefix(b, []byte(`{"version"`)):
		return "GELF"
	}
	return ""
}

// isSyslog reports whether a datagram begins with a priority (RFC 5424, 6.2.1).
func isSyslog(b []byte) bool {
	digits, _, ok := bytes.Cut(bytes.TrimPrefix(b, []byte("<")), []byte(">"))
	return ok && bytes.HasPrefix(b, []byte("<")) && len(digits) > 0 && len(digits) <= 3 && !slices.ContainsFunc(digits, func(c byte) bool { return c < '0' || c > '9' })
}

// isStatsd reports whether the first line of a datagram is a metric, name:value|type.
func isStatsd(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	_, value, named := bytes.Cut(line, []byte(":"))
	number, kind, typed := bytes.Cut(value, []byte("|"))
	kind, _, _ = bytes.Cut(kind, []byte("|"))
	return named && typed && len(number) > 0 && slices.Contains([]string{"c", "g", "ms", "h", "s", "d", "m"}, string(kind))
}
