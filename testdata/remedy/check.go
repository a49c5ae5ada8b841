// Package remedy checks what findings say is to be done: commands that work as printed, and after them, as comments of the
// shell, what no command does.
package remedy

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// advice begins a line that is no command.
const advice = "# "

// Check says what is wrong with a finding's remedy.
func Check(lines []string) error {
	advises := false
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, advice):
			advises = true
		case advises:
			return fmt.Errorf("%q comes after what no command does", line)
		default:
			if err := command(line); err != nil {
				return fmt.Errorf("%q: %w", line, err)
			}
		}
	}
	return nil
}

// placeholder is what a user would have to replace.
var placeholder = regexp.MustCompile(`<[A-Za-z][^>]*>|\{\w+\}|%!?[a-z(]|\.\.\.|` +
	`(?:^|[\s=:/@])(?:X|Y|N|NAME|NAMESPACE|POD|NODE|UNIT|BRIDGE|TUNNEL|FLOW|DEV|DEVICE|IFACE|ADDR|ADDRESS|HOST|PORT|FILE|SRC|DST)(?:$|[\s=:/])`)

// command says what is wrong with a line for a shell.
func command(line string) error {
	code, _, _ := strings.Cut(line, "   # ")
	bare := unquoted(code)
	if x := placeholder.FindString(bare); x != "" {
		return fmt.Errorf("%q is to be replaced", x)
	}
	for _, part := range regexp.MustCompile(`\$\(|\|\|?|&&|;`).Split(bare, -1) {
		if p := program(part); p != "" && !slices.Contains(programs(), p) {
			return fmt.Errorf("%q is no program that is known", p)
		}
	}
	if out, err := exec.Command("sh", "-n", "-c", line).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	return nil
}

// unquoted is a line without what is in single quotes: words that others chose, and other languages.
func unquoted(line string) string { return regexp.MustCompile(`'[^']*'`).ReplaceAllString(line, "''") }

// program is the first word of a simple command, behind the shell's own.
func program(part string) string {
	words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(part), "do "))
	if len(words) == 0 || slices.Contains([]string{"for", "done"}, words[0]) {
		return ""
	}
	return words[0]
}

// programs are those that remedies name.
func programs() []string {
	return strings.Fields(`arping ausearch awk bpftool bridge cat conntrack cut df dig dmesg echo ethtool getfacl grep head ip ip6tables
		ip6tables-legacy ip6tables-legacy-save ip6tables-nft ip6tables-nft-save ip6tables-save iostat iptables iptables-legacy
		iptables-legacy-save iptables-nft iptables-nft-save iptables-save iw journalctl ktrace kube-proxy kubeadm kubectl lsns
		modprobe mpstat nft nsenter nstat openssl ovs-dpctl ovs-ofctl ovs-vsctl ping sed sort ss sysctl tail tc tcpdump
		timedatectl top tracepath traceroute uniq`)
}
