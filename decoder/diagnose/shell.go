package diagnose

import (
	"fmt"
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

// setting is a key of sysctl(8) for a shell; with slashes if the name of its device has a dot, which separates otherwise.
func setting(key, device string) string {
	before, after, found := strings.Cut(key, "."+device+".")
	if found && strings.Contains(device, ".") {
		key = strings.ReplaceAll(before, ".", "/") + "/" + device + "/" + after
	}
	return word(key)
}

// dnsName is a name for dig, which takes one that begins so for an option or a server.
func dnsName(name string) string {
	if name != "" && strings.ContainsRune("-+@", rune(name[0])) {
		return "-q " + quote(name)
	}
	return quote(name)
}

// in runs the command that follows it in a network namespace; not if that is the node's own.
func (st *State) in(netns uint32) string {
	if netns == st.node.Netns {
		return ""
	}
	return within(netns)
}

// inEach runs each of the commands in a network namespace.
func (st *State) inEach(netns uint32, commands ...string) []string {
	all := make([]string, len(commands))
	for i, c := range commands {
		all[i] = st.in(netns) + c
	}
	return all
}

// within is in where the node's own namespace is not known. A pod's first process is the sandbox's.
func within(netns uint32) string {
	if netns == 0 {
		return ""
	}
	return fmt.Sprintf("nsenter -t %s -n ", firstOf(netns))
}

// firstOf is the first process of a network namespace.
func firstOf(netns uint32) string { return fmt.Sprintf("$(lsns -no PID %d | head -1)", netns) }

// catResolvConf shows the resolv.conf that the processes of a network namespace have.
func catResolvConf(netns uint32) string {
	if netns == 0 {
		return "cat /etc/resolv.conf"
	}
	return fmt.Sprintf("cat /proc/%s/root/etc/resolv.conf", firstOf(netns))
}

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
