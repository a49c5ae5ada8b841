// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder/event"
)

// noPort reports a connect for which no local port is free: connect() ended with EADDRNOTAVAIL, and no SYN was sent. One port
// serves connections to several servers, but only one to each.
func (r *Connects) noPort(e event.Event, f event.Flow) event.Finding {
	const key = "net.ipv4.ip_local_port_range"
	who := e.Packet.Src.String()
	if name := e.Pod.String(); name != "" {
		who = fmt.Sprintf("%s (%s)", name, who)
	}
	x := event.Finding{
		ID: "ports-exhausted", Confidence: event.Certain, Subject: fmt.Sprintf("tcp ports of %v to %v", e.Packet.Src, f.Server),
		Title: fmt.Sprintf("No local port is left for connections of %s to %v.", who, f.Server),
		Cause: "Every connection to one server needs a port of its own, and those that are open or in TIME-WAIT have all of them. " +
			"connect() fails at once with EADDRNOTAVAIL, and no packet is sent.",
		Evidence: []string{fmt.Sprintf("%s connect%s to %v: no port, no SYN", e.Time.UTC().Format("15:04:05.000000"), by(e), f.Server)},
		Remedy: []event.Remedy{
			pipe(run("ss -Htan dst %v and dport = %v", f.Server.Addr(), f.Server.Port()), run("awk %v", "{print $1}"), run("sort"), run("uniq -c")).
				In(r.state.enter(e.Netns)).Noting("in what state those are that have the ports"),
			run("sysctl " + key).In(r.state.enter(e.Netns)),
			do("have the client keep connections open and use them again"),
			do("give it more ports (%s), or the server more addresses", key),
		},
	}
	if ports := strings.Fields(r.state.sysctl(e.Netns, key)); len(ports) == 2 {
		x.Evidence = append(x.Evidence, fmt.Sprintf("%s is %s to %s", key, ports[0], ports[1]))
	}
	return x
}

// by names the process of an event, " of comm (pid 7)"; "" if none is known.
func by(e event.Event) string {
	if e.PID == 0 {
		return ""
	}
	return " of " + e.Process().Long()
}
