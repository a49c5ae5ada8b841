// SPDX-License-Identifier: Apache-2.0

// Package wording checks what findings say: that remedies are commands that work as printed, or advice, and that titles are
// sentences.
package wording

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// Remedies says what is wrong with what a finding gives as its remedy: each is a command or advice, and commands come first.
func Remedies(all []event.Remedy) error {
	advises := false
	for _, r := range all {
		switch {
		case (r.Run == "") == (r.Do == ""):
			return fmt.Errorf("%+v is not either a command or advice", r)
		case r.Do != "":
			advises = true
			if r.Netns != 0 || r.Note != "" || strings.HasPrefix(r.Do, "#") {
				return fmt.Errorf("%+v is not just advice", r)
			}
		case advises:
			return fmt.Errorf("%q comes after advice", r.Run)
		default:
			if err := errors.Join(Command(r.Run), Command(r.String())); err != nil {
				return fmt.Errorf("%v: %w", r, err)
			}
		}
	}
	return nil
}

// placeholder is what a user would have to replace.
var placeholder = regexp.MustCompile(`<[A-Za-z][^>]*>|\{\w+\}|%!?[a-z(]|\.\.\.|` +
	`(?:^|[\s=:/@])(?:X|Y|N|NAME|NAMESPACE|POD|NODE|UNIT|BRIDGE|TUNNEL|FLOW|DEV|DEVICE|IFACE|ADDR|ADDRESS|HOST|PORT|FILE|SRC|DST)(?:$|[\s=:/])`)

// Command says what is wrong with a line for a shell, which may have a comment at its end.
func Command(line string) error {
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

// program is the first word of a simple command.
func program(part string) string {
	words := strings.Fields(part)
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// programs are those that remedies name.
func programs() []string {
	return strings.Fields(`arping ausearch awk bpftool bridge cat conntrack cut df dig dmesg echo ethtool grep head ip ip6tables
		ip6tables-legacy ip6tables-legacy-save ip6tables-nft ip6tables-nft-save ip6tables-save iostat iptables iptables-legacy
		iptables-legacy-save iptables-nft iptables-nft-save iptables-save iw journalctl ktrace kube-proxy kubeadm kubectl lsns
		modprobe mpstat nft nsenter nstat openssl ovs-dpctl ovs-ofctl ovs-vsctl ping sed sort ss sysctl tail tc tcpdump
		tee timedatectl top tracepath traceroute uniq xargs`)
}
