// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"

	"ktrace/decoder/event"
)

// overlays are the ports that tunnels between nodes use (IANA; 8472 is Linux' and Flannel's own for VXLAN).
func overlays() map[uint16]string {
	return map[uint16]string{4789: "VXLAN", 8472: "VXLAN", 6081: "Geneve"}
}

// overlayBlocked reports a packet between nodes that carries others, and that a firewall or the other node refused.
func overlayBlocked(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	tunnel, ok := overlays()[e.Packet.Dport]
	refused := d.NoSocket() && d.Answer != nil
	b, blamed := st.dropRulesOf(e, d)
	noRule := blamed && len(b.Candidates) == 0 && b.Incomplete == "" // conntrack or NAT dropped it
	if !ok || e.Packet.Proto != "udp" || (!d.ByNetfilter() || noRule) && !refused {
		return event.Finding{}, false
	}
	peer := e.Packet.Destination()
	f := event.Finding{
		ID: "overlay-blocked", Recorded: true, Confidence: event.Certain, Subject: fmt.Sprintf("%v > %v", e.Packet.Src, peer),
		Title: fmt.Sprintf("%s packets from %v to %v are dropped: pods of the two nodes do not reach each other.", tunnel, e.Packet.Src, peer),
		Cause: "A firewall drops what the overlay network sends between the nodes, whatever the pods put into it.",
		Remedy: []event.Remedy{
			pipe(run(forFamily(peer.Addr(), "iptables-save -c")), run("grep -e %v -e DROP -e REJECT", peer.Port())).In(st.enter(e.Netns)),
			pipe(run("nft list ruleset"), run("grep -n -e %v -e drop", peer.Port())).In(st.enter(e.Netns)),
			do("let UDP port %d pass between all nodes, in the cloud's security groups, too", peer.Port()),
		},
	}
	if refused {
		f.Title = fmt.Sprintf("%v refuses %s packets: nothing there takes them, so pods of the two nodes do not reach each other.", peer, tunnel)
		f.Cause = "The other node has no tunnel device on that port: its network plugin is not running, or uses another port."
		f.Remedy = []event.Remedy{
			run("ip -d link show type vxlan").Noting("on %v", peer.Addr()),
			sockets("lnp", "udp", peer.Port()).Noting("on %v", peer.Addr()),
			run("kubectl -n kube-system get pods -o wide").Noting("is the network plugin running there?"),
		}
		return f, true
	}
	if len(b.Candidates) > 0 {
		st.addRule(&f, e.Netns, b)
	}
	return f, true
}
