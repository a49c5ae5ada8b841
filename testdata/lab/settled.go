// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel does some of what a command asks for later, in a work queue: it lets a device send once it has seen its
// carrier (net/core/link_watch.c), and takes what is for an IPv6 address once it is through with its duplicates, looked
// for or not (addrconf_dad_work). A busy machine takes its time for that, and packets that come before are lost.

// awaitUp waits until the device sends, and what is for its IPv6 addresses is taken.
func (ns *NS) awaitUp(device string, addrs ...string) {
	ns.t.Helper()
	ns.await(device+" is up", func() bool { return running(device) })
	ns.awaitLocal(addrs...)
}

// awaitLocal waits until the namespace takes what is for these addresses, of which those of IPv4 are so at once.
func (ns *NS) awaitLocal(addrs ...string) {
	ns.t.Helper()
	for _, text := range addrs {
		address, _, _ := strings.Cut(text, "/")
		if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
			ns.await(text+" is local", func() bool { return local6(a) })
		}
	}
}

// await waits for what the kernel says of the namespace, which has no wait of its own.
func (ns *NS) await(what string, is func() bool) {
	ns.t.Helper()
	ns.Do(func() {
		for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				ns.t.Fatalf("%s: not within %v: %s", ns.Name, patience, what)
			}
		}
	})
}

// running is whether a device of the thread's namespace has its carrier.
func running(device string) bool {
	flags, err := flagsOf(device)
	return err == nil && flags&unix.IFF_RUNNING != 0
}

// local6 is whether the thread's namespace takes what is for an address: there is a route that says so.
func local6(a netip.Addr) bool {
	table, err := os.ReadFile("/proc/thread-self/net/ipv6_route")
	if err != nil {
		return true // no IPv6 here
	}
	prefix := fmt.Appendf(nil, "%x 80 ", a.As16())
	for line := range bytes.Lines(table) {
		if fields := bytes.Fields(line); bytes.HasPrefix(line, prefix) && len(fields) == 10 {
			var flags uint32
			if _, err := fmt.Sscanf(string(fields[8]), "%x", &flags); err == nil && flags&unix.RTF_LOCAL != 0 {
				return true
			}
		}
	}
	return false
}

// addressesUp are those of the devices that commands of ip(8) give addresses or set up, as far as they are up then, in the
// thread's namespace.
func addressesUp(commands []string) (addrs []string) {
	for _, c := range commands {
		device := ""
		switch f := strings.Fields(strings.TrimPrefix(c, "-6 ")); {
		case len(f) > 4 && f[0] == "addr" && f[1] == "add" && f[3] == "dev":
			device = f[4]
		case len(f) > 3 && f[0] == "link" && f[1] == "set" && f[3] == "up":
			device = f[2]
		}
		if device == "" || !running(device) {
			continue
		}
		addrs = append(addrs, addressesOf(device)...)
	}
	return addrs
}

func addressesOf(device string) (addrs []string) {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return nil
	}
	all, _ := d.Addrs() // none of a device that is gone
	for _, a := range all {
		addrs = append(addrs, a.String())
	}
	return addrs
}
