// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder/event"
)

// hairpin reports a packet that a bridge did not give back to the port where it came in, though translation made the
// sender its receiver: a pod that asks a service and is its backend itself.
func hairpin(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	c := d.Conntrack
	back := c.DNAT() && c.Original.Src.Addr() == c.Reply.Src.Addr()
	if !strings.HasPrefix(d.Location, "br_") && d.Reason != "NO_TX_TARGET" || !back && e.Packet.Src != e.Packet.Dst {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "hairpin-disabled", Confidence: event.Certain, Subject: at(e),
		Title: fmt.Sprintf("%v cannot reach itself by its service: %s is a bridge port without hairpin mode.", e.Packet.Dst, at(e)),
		Cause: "A bridge does not forward a packet to the port where it came in, unless that port's hairpin mode is on. Here the service's backend is the client itself, so it must be.",
		Remedy: []event.Remedy{
			run("bridge link set dev %v hairpin on", orLo(e.Iface)).In(st.enter(e.Netns)),
			run("grep -rn hairpinMode /etc/cni/net.d").Noting("true: the bridge plugin does so for every pod"),
		},
	}
	if c != nil {
		f.Evidence = []string{"conntrack entry: " + c.String()}
	}
	return f, true
}
