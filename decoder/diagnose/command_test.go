// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"ktrace/decoder/event"
)

// TestNamesAreSafeInCommands wants a shell to take each name as one word, and the usual ones written as they are.
func TestNamesAreSafeInCommands(t *testing.T) {
	for _, name := range []string{"eth0", "cali0123@if5", "br-lan.7", "vxlan_1"} {
		if got := word(name); got != name {
			t.Errorf("%s is written %s", name, got)
		}
	}
	for _, name := range []string{"$(id)", "a;b", "`id`", "it's", "a|b", "~", "*", "a\\b", "&", ""} {
		got, err := exec.Command("sh", "-c", "printf '<%s>' "+word(name)).Output()
		if want := "<" + name + ">"; err != nil || string(got) != want {
			t.Errorf("%s is taken for %s, want %s: %v", word(name), got, want, err)
		}
	}
}

// TestRemediesQuoteDevices wants the name that a pod gave its device to be a word of the command.
func TestRemediesQuoteDevices(t *testing.T) {
	state := NewState()
	e, d := askedAt(7, "10.244.1.5:53", event.Drop{Reason: "QDISC_DROP", Location: "__dev_queue_xmit"})
	e.Iface = "$(id)"
	f, ok := byReason(state, e, d)
	if !ok || !strings.Contains(f.Remedy[0].Run, "dev '$(id)'") {
		t.Errorf("remedy %q", f.Remedy)
	}
}

// TestSettingsOfDevices wants a key that sysctl(8) and the shell take for the device's.
func TestSettingsOfDevices(t *testing.T) {
	for device, want := range map[string]string{"eth0": "net.ipv4.conf.eth0.rp_filter", "eth0.7": "net/ipv4/conf/eth0.7/rp_filter", "$(id)": "'net.ipv4.conf.$(id).rp_filter'"} {
		if got := run("%v", setting("net.ipv4.conf."+device+".rp_filter", device)).Run; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestCommandsAreOfTheFamily wants IPv6 looked for where it is, and settings that both families share left as they are.
func TestCommandsAreOfTheFamily(t *testing.T) {
	for four, six := range map[line]line{
		"iptables-save -c": "ip6tables-save -c", "iptables -I FORWARD -j DROP": "ip6tables -I FORWARD -j DROP", "iptables-legacy-save": "ip6tables-legacy-save",
		"nft list table ip kube-proxy": "nft list table ip6 kube-proxy", "ip route get %v": "ip -6 route get %v", "ip rule": "ip -6 rule",
		"sysctl net.bridge.bridge-nf-call-iptables": "sysctl net.bridge.bridge-nf-call-iptables",
	} {
		if got := forFamily(netip.MustParseAddr("10.0.0.1"), four); got != four {
			t.Errorf("%q, want %q", got, four)
		}
		if got := forFamily(netip.MustParseAddr("fd00::1"), four); got != six {
			t.Errorf("%q, want %q", got, six)
		}
	}
}
