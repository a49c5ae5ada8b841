// SPDX-License-Identifier: Apache-2.0

package wording

import "testing"

func TestTitle(t *testing.T) {
	for _, good := range []string{
		"The DNS server 10.0.0.1:53 does not answer.",
		"10.244.1.2 does not answer ARP on eth0, so packets to it are dropped.",
		"net.bridge.bridge-nf-call-iptables is 0 on a node with services and a bridge: pods on cni0 cannot reach services through backends on it.",
		"shop/web-0 (10.244.1.2:80) closed the socket with 12 bytes unread, which reset its connection to fd00::2:40000.",
		"fdatasync of /var/lib/etcd/wal/0.wal returned EIO: what was written to it may be lost.",
		"eth0 has no carrier, so no host on it answers ARP, and packets to 10.0.0.1 are dropped.",
	} {
		if err := Title(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "the receive buffer is full.", "The receive buffer is full", "The buffer is full.  Read faster.", "The buffer is full. Read faster.", " The buffer is full.",
	} {
		if Title(bad) == nil {
			t.Errorf("%q is taken for a title", bad)
		}
	}
}

func TestText(t *testing.T) {
	for _, good := range []string{
		"17:49:18.784480 no device in netns 7: 10.0.0.1:1 > 10.0.0.2:53, not translated", `the rule: -m comment --comment "a  b" -j DROP`, "", "of 1.5 s: 3, none",
		"untranslated at eth0 out, netns 7", `the rule: map no-endpoints: 10.0.0.1 . tcp . 80 comment "a:b" : drop`, "the rule: ct state vmap { invalid : drop, new : accept }", "slowest: fsync of /var/lib/x by etcd (pid 7)",
	} {
		if err := Text(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"17:49:18.784480 no device  in netns 7", "untranslated at ", " of it", "dropped at : NO_SOCKET", "search , ndots:5", "the end of it .", "fsync by /5", "of ()", "a (pid )",
	} {
		if Text(bad) == nil {
			t.Errorf("%q is taken for a text", bad)
		}
	}
}
