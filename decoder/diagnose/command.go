// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"ktrace/decoder/event"
)

// line is a command as the source has it: words with a space between them, and %v where an operand stands. A string of
// anyone else's does not become one, so foreign names are operands.
type line string

// optarg is an operand that stands behind an option that takes any word, so that it may begin with a dash.
type optarg string

// identifier is an operand that nft(8) reads as one of its language, which it makes of all its arguments together.
type identifier string

// run makes a command, the only way to make one. Each word of the line is one argument of the program, whatever a shell or
// the program makes of the operands in it. An operand that is no option, but could be taken for one, or that a terminal
// would not show as it is, makes advice of the command.
func run(words line, operands ...any) event.Remedy {
	var command []string
	for _, w := range strings.Fields(string(words)) {
		switch before, after, found := strings.Cut(w, "%v"); {
		case slices.Contains([]string{"</dev/null", "2>/dev/null"}, w):
		case !found:
			w = word(w)
		default:
			if unsafe(operands[0], before == "") {
				return do("look at %q yourself (%s): it is no name for a command line", operands[0], strings.Fields(string(words))[0])
			}
			w, operands = word(before+fmt.Sprint(operands[0])+after), operands[1:]
		}
		command = append(command, w)
	}
	return event.Remedy{Run: strings.Join(command, " ")}
}

// nftIdentifier is what nft(8) takes for a name without quotes.
var nftIdentifier = regexp.MustCompile(`^[A-Za-z_][\w./-]*$`)

// unsafe reports whether an operand cannot be written into a command; first says that a word begins with it.
func unsafe(operand any, first bool) bool {
	text := fmt.Sprint(operand)
	switch operand.(type) {
	case identifier:
		return !nftIdentifier.MatchString(text)
	case optarg:
		first = false
	}
	return first && strings.HasPrefix(text, "-") || !utf8.ValidString(text) ||
		strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// pipe is a pipeline of commands; advice if one of them is that.
func pipe(commands ...event.Remedy) event.Remedy {
	var all []string
	for _, c := range commands {
		if c.Run == "" {
			return c
		}
		all = append(all, c.Run)
	}
	return event.Remedy{Run: strings.Join(all, " | ")}
}

// do is advice.
func do(format string, args ...any) event.Remedy {
	return event.Remedy{Do: fmt.Sprintf(format, args...)}
}

// word is one word of a shell: as it is if it has nothing that a shell minds, else quoted.
func word(s string) string {
	plain := func(c rune) bool {
		return strings.ContainsRune("_-.@:/=+,%", c) || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// forFamily is a line for IPv4 as it is for the family of an address: each has its own iptables, routes and tables.
func forFamily(a netip.Addr, words line) line {
	if a.Is4() {
		return words
	}
	six := strings.NewReplacer("iptables-", "ip6tables-", "iptables ", "ip6tables ", "table ip ", "table ip6 ", "ip route", "ip -6 route", "ip rule", "ip -6 rule")
	return line(six.Replace(string(words)))
}

// enter is the network namespace that a command about a namespace is to enter: none if it is the node's own.
func (st *State) enter(netns uint32) uint32 {
	if netns == st.node.Netns {
		return 0
	}
	return netns
}

// setting is a key of sysctl(8); with slashes if the name of its device has a dot, which separates otherwise.
func setting(key, device string) string {
	before, after, found := strings.Cut(key, "."+device+".")
	if found && strings.Contains(device, ".") {
		return strings.ReplaceAll(before, ".", "/") + "/" + device + "/" + after
	}
	return key
}

// dig is a command that sends a DNS query, with more options before the name. The name, which is anyone's, may begin as an
// option or a server does.
func dig(server netip.AddrPort, options line, name, kind string) event.Remedy {
	if name == "" {
		return run("dig @%v -p %v"+options, server.Addr(), server.Port())
	}
	return run("dig @%v -p %v"+options+" -q %v -t %v", server.Addr(), server.Port(), optarg(name), optarg(kind))
}

// catResolvConf shows the resolv.conf that the processes of a network namespace have.
func catResolvConf(netns uint32) event.Remedy {
	if netns == 0 {
		return run("cat /etc/resolv.conf")
	}
	return pipe(run("lsns -no PID %v", netns), run("head -1"), run("xargs -I@ cat /proc/@/root/etc/resolv.conf"))
}

// kubeletResolvConf shows which resolv.conf the kubelet gives to pods.
func kubeletResolvConf() event.Remedy {
	return run("grep -i resolvConf /var/lib/kubelet/config.yaml").Noting("of a node with systemd-resolved: /run/systemd/resolve/resolv.conf")
}

// systemPods shows the pods of one of the cluster's own programs, and where they run.
func systemPods(app line) event.Remedy {
	return run("kubectl -n kube-system get pods -o wide -l k8s-app=" + app)
}
