// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"ktrace/decoder/event"
)

// sysctlKeys are the settings that packets depend on, without those of single devices.
func sysctlKeys() []string {
	return []string{
		"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding",
		"net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter", "net.ipv4.conf.all.forwarding",
		"net.ipv4.conf.all.accept_local", "net.ipv4.conf.all.route_localnet",
		"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables",
		"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_tcp_be_liberal",
		"net.ipv4.tcp_abort_on_overflow", "net.core.somaxconn", "net.ipv4.tcp_mtu_probing", "net.ipv4.ip_no_pmtu_disc",
		"net.ipv4.ip_local_port_range",
	}
}

// deviceKeys are those of one device.
func deviceKeys(device string) []string {
	name := strings.ReplaceAll(device, ".", "/") // as sysctl(8) writes names with dots
	return []string{"net.ipv4.conf." + name + ".rp_filter", "net.ipv4.conf." + name + ".forwarding", "net.ipv6.conf." + name + ".forwarding"}
}

// sysctls reads settings of the namespace that the thread is in. Those that this kernel does not have are left out.
func sysctls(inode uint32, keys []string) ([]event.Fact, error) {
	var facts []event.Fact
	var errs []error
	for _, key := range keys {
		value, err := os.ReadFile("/proc/sys/" + strings.NewReplacer(".", "/", "/", ".").Replace(key))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sysctl %s: %w", key, err))
			continue
		}
		facts = append(facts, event.Fact{Sysctl: &event.Sysctl{Netns: inode, Key: key, Value: strings.TrimSpace(string(value))}})
	}
	return facts, errors.Join(errs...)
}
