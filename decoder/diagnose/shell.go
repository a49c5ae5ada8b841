package diagnose

import (
	"net/netip"
	"strings"
)

// word is a name for a shell, as it is if it has nothing that a shell minds: a pod may give its devices any.
func word(s string) string {
	plain := func(c rune) bool {
		return c == '_' || c == '-' || c == '.' || c == '@' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return quote(s)
}

// quote makes a path safe for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// byFamily makes of commands for IPv4 those for the family of an address: each has its own iptables, routes and tables.
func byFamily(a netip.Addr, commands ...string) []string {
	if a.Is4() {
		return commands
	}
	six := strings.NewReplacer("iptables-", "ip6tables-", "iptables -", "ip6tables -", "table ip ", "table ip6 ", "ip route", "ip -6 route")
	all := make([]string, len(commands))
	for i, c := range commands {
		all[i] = six.Replace(c)
	}
	return all
}
