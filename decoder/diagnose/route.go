// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// ipForwardDisabled reports a packet for elsewhere that came to a namespace which does not pass packets on. ip_error says
// so by IP_INADDRERRORS, or IP_INNOROUTES where there is no route either; ip6_forward gives no reason.
func ipForwardDisabled(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	all, key := st.notForwarded(e, d)
	if key == "" {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "ip-forward-disabled", Confidence: event.Certain, Subject: fmt.Sprintf("%s in netns %d", key, e.Netns),
		Title: fmt.Sprintf("The node does not forward: packets from %s to %s are dropped at %s.", e.Packet.Src, e.Packet.Dst, at(e)),
		Cause: fmt.Sprintf("%s is 0, so packets that are not for the node itself are dropped; pods reach nothing but the node.", key),
		Remedy: []event.Remedy{
			run("sysctl -w %v=1", setting(key, e.Iface)).In(st.enter(e.Netns)),
			run("grep -rn %v /etc/sysctl.conf /etc/sysctl.d", all).Noting("what set it to 0"),
		},
	}
	if v := st.sysctl(e.Netns, key); v != "" {
		f.Evidence = []string{fmt.Sprintf("%s = %s in netns %d", key, v, e.Netns)}
	}
	if e.Netns != st.node.Netns && st.oneDevice(e.Netns) {
		f.Confidence = event.Likely
		f.Evidence = append(f.Evidence, fmt.Sprintf("netns %d has one device beside lo: it may be no router, and the route of the sender that leads there be wrong", e.Netns))
	}
	return f, true
}

// notForwarded returns the setting for which a packet that is not for this namespace was not passed on, "" if it was for
// another reason, and the setting that all devices have in common.
func (st *State) notForwarded(e event.Event, d event.Drop) (all, key string) {
	version, _ := family(e)
	all = "net.ipv4.ip_forward"
	if version == "ipv6" {
		all = "net.ipv6.conf.all.forwarding"
	}
	dev := fmt.Sprintf("net.%s.conf.%s.forwarding", version, e.Iface)
	switch {
	case d.Location != "ip_error" && d.Location != "ip6_forward":
	case st.sysctl(e.Netns, all) == "0":
		return all, all
	case d.Location == "ip_error" && st.sysctl(e.Netns, dev) == "0":
		return all, dev
	case d.Location == "ip_error" && d.Reason == "IP_INADDRERRORS" && d.Answer == nil: // the kernel answers if it forwards
		return all, all
	}
	return all, ""
}

// refusedAsInput reports a drop, for a reason that the kernel does not give, in the functions that look for the way of a
// packet that came in.
func refusedAsInput(d event.Drop) bool {
	return d.Unexplained() && slices.Contains([]string{"ip_route_input_slow", "ip_rcv_finish_core", "ip_rcv_finish"}, d.Location)
}

// rpFilter reports what the filter for spoofed sources took. Before 5.17 the kernel gives no reason, but EXDEV to
// who asks how it would route such a packet.
func rpFilter(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if forth, _ := st.route(e, false); d.Reason != "IP_RPFILTER" && !(refusedAsInput(d) && forth.Errno == "EXDEV") {
		return event.Finding{}, false
	}
	device := e.Iface
	if device == "" {
		device = "all"
	}
	f := event.Finding{
		ID: "rp-filter", Confidence: event.Certain, Subject: "rp_filter of " + at(e),
		Title: fmt.Sprintf("Reverse-path filtering drops packets from %v that arrive at %s.", e.Packet.Src, at(e)),
		Cause: "The route back to the source leads through another device, or there is none, so the kernel takes the source for spoofed.",
		Remedy: []event.Remedy{
			run("sysctl -w %v=2", setting("net.ipv4.conf."+device+".rp_filter", device)).In(st.enter(e.Netns)).
				Noting("loose: any route back will do; the higher of this and conf.all counts"),
			run("ip route get %v", e.Packet.Src).In(st.enter(e.Netns)),
		},
	}
	for _, name := range []string{device, "all"} {
		key := fmt.Sprintf("net.ipv4.conf.%s.rp_filter", name)
		if v := st.sysctl(e.Netns, key); v != "" {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s = %s", key, v))
		}
	}
	if r, ok := st.route(e, true); ok {
		f.Evidence = append(f.Evidence, "the route back: "+describeRoute(r))
	}
	return f, true
}

// describeRoute is what the kernel answers about a route, in words.
func describeRoute(r event.Route) string {
	switch {
	case r.Errno != "":
		return fmt.Sprintf("none to %v (%s)", r.Dst, r.Errno)
	case r.Gateway.IsValid():
		return fmt.Sprintf("%v by %v, device %s (table %d)", r.Dst, r.Gateway, r.Out, r.Table)
	}
	return fmt.Sprintf("%v on device %s (%s, table %d)", r.Dst, r.Out, r.Type, r.Table)
}

// impossible says why a packet's addresses are, "" if they are not. Kernels before 6.14 give no reason; then it is known
// by the addresses, and by what they are to the kernel that is asked for the way back.
func impossible(st *State, e event.Event, d event.Drop) string {
	const own, forged = "its source is an address of this host itself", "its source is no valid source address"
	const loopback = "a loopback address arrived at a device that is not lo"
	why := map[string]string{
		"IP_LOCAL_SOURCE":   own,
		"IP_INVALID_SOURCE": forged,
		"IP_LOCALNET":       loopback,
		"IP_INVALID_DEST":   "its destination is no valid destination address",
	}[d.Reason]
	header := d.Location == "ip6_rcv_core" || d.Location == "ipv6_rcv" // which also look at IPv6 addresses, and blame the header only
	if why != "" || !header && !refusedAsInput(d) {
		return why
	}
	back, _ := st.route(e, true)
	switch p := e.Packet; {
	case p.Src.IsLoopback(), p.Dst.IsLoopback():
		return loopback
	case p.Src.IsMulticast(), p.Src.IsUnspecified():
		return forged
	case back.Type == "local" && !header:
		return own
	}
	return ""
}

// martian reports impossible addresses.
func martian(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	why := impossible(st, e, d)
	if why == "" {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "martian-source", Confidence: event.Certain, Subject: fmt.Sprintf("%s, at %s", why, at(e)),
		Title:    fmt.Sprintf("Packets from %v to %v that arrive at %s are martians and are dropped.", e.Packet.Src, e.Packet.Dst, at(e)),
		Cause:    "The kernel calls it a martian: " + why + ". An address is used twice, or something translates or spoofs it.",
		Evidence: []string{why},
		Remedy: []event.Remedy{
			pipe(run("ip -br addr"), run("grep -w %v", e.Packet.Src)).In(st.enter(e.Netns)).Noting("is the source this host's own?"),
			run("sysctl -w net.ipv4.conf.all.log_martians=1").In(st.enter(e.Netns)),
			pipe(run("dmesg"), run("grep martian")).Noting("with the sender's MAC"),
		},
	}
	switch {
	case e.Packet.Src == e.Packet.Dst:
		toItself(&f, e)
	case e.Packet.Dst.IsLoopback() && d.Conntrack.DNAT():
		st.toLoopback(&f, e, d)
	}
	return f, true
}

// toItself says of a packet that has its receiver's own address as its source how it comes to that: a service made it so.
func toItself(f *event.Finding, e event.Event) {
	f.Title = fmt.Sprintf("%v cannot reach itself by a service: its packets come back with its own address as their source, and are dropped.", e.Packet.Dst)
	f.Cause = "A service, or a node port, sent the packet back to its sender, as its backend. Then its source must be masqueraded, too, and was not."
	f.Remedy = []event.Remedy{
		pipe(run(forFamily(e.Packet.Dst, "iptables-save -t nat")), run("grep -e KUBE-MARK-MASQ -e MASQUERADE")).
			Noting("on the node: kube-proxy marks what a backend sends to itself, and masquerades what is marked"),
		pipe(run("nft list ruleset"), run("grep -n masquerade")).Noting("on the node"),
	}
}

// toLoopback says of a packet that translation sends to a loopback address what keeps it from arriving there.
func (st *State) toLoopback(f *event.Finding, e event.Event, d event.Drop) {
	device := orLo(e.Iface)
	f.Title = fmt.Sprintf("Packets that a rule translates to %v are dropped at %s: route_localnet is off there.", e.Packet.Dst, at(e))
	f.Cause = "A rule of DNAT sends them to a loopback address, which the kernel takes from no device but lo unless route_localnet is on: the port of a node or of a container's host that is only bound to 127.0.0.1."
	f.Evidence = append(f.Evidence, "conntrack entry: "+d.Conntrack.String())
	f.Remedy = []event.Remedy{
		run("sysctl -w %v=1", setting("net.ipv4.conf."+device+".route_localnet", device)).In(st.enter(e.Netns)).
			Noting("then other hosts of the link reach 127.0.0.0/8 as well, unless a rule forbids it"),
		do("or let the server listen on an address of the node, and the rule name that"),
	}
}

// noRoute reports that there was no way to the destination.
func noRoute(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if !d.NoWay() {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "no-route", Confidence: event.Certain, Subject: st.routesThatLack(e, d.Reason),
		Title: fmt.Sprintf("There is no route to %v for packets from %v.", e.Packet.Dst, e.Packet.Src),
		Cause: "The routing table has no route to the destination, or an unreachable one.",
		Remedy: []event.Remedy{
			run(forFamily(e.Packet.Dst, "ip route get %v from %v iif %v"), e.Packet.Dst, e.Packet.Src, orLo(e.Iface)).In(st.enter(e.Netns)),
			run(forFamily(e.Packet.Dst, "ip route show table all")).In(st.enter(e.Netns)),
			run(forFamily(e.Packet.Dst, "ip rule")).In(st.enter(e.Netns)),
		},
	}
	if r, ok := st.route(e, false); ok {
		f.Evidence = append(f.Evidence, "route lookup: "+describeRoute(r))
	}
	return f, true
}

// routesThatLack names the routes that have none for a packet, and how they say so: a default route that is missing is
// one cause, whatever cannot be reached without it.
func (st *State) routesThatLack(e event.Event, reason string) string {
	errno := map[string]string{"IP_INNOROUTES": "ENETUNREACH", "IP_OUTNOROUTES": "ENETUNREACH", "IP_INADDRERRORS": "EHOSTUNREACH"}[reason]
	if r, ok := st.route(e, false); ok && r.Errno != "" {
		errno = r.Errno
	}
	version, _ := family(e)
	return strings.TrimSpace(fmt.Sprintf("%s routes of netns %d %s", version, e.Netns, errno))
}

func orLo(device string) string {
	if device == "" {
		return "lo"
	}
	return device
}

// isTTLExceeded reports whether a packet was dropped since it has passed as many routers as it may.
func isTTLExceeded(e event.Event, d event.Drop) bool {
	return d.Answer != nil && d.Answer.Name == "time-exceeded" || e.Packet.TTL <= 1 && (d.Location == "ip_forward" || d.Location == "ip6_forward")
}

// ttlExceeded reports a packet that has passed too many routers, unless it was sent to find out who they are.
func ttlExceeded(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if !isTTLExceeded(e, d) || st.effects.isTraceroute(e) {
		return event.Finding{}, false
	}
	round, known := st.effects.loops(e.Packet)
	if known && !round {
		return smallTTL(e), true
	}
	f := event.Finding{
		ID: "ttl-exceeded", Confidence: event.Certain, Subject: at(e),
		Title:    fmt.Sprintf("Packets to %v are in a routing loop: TTL exceeded.", e.Packet.Dst),
		Cause:    "The packet's TTL is used up. Unless it began with a small TTL on purpose (traceroute), two routers send it to each other.",
		Evidence: []string{fmt.Sprintf("TTL %d%s", e.Packet.TTL, event.At(e))},
		Remedy:   []event.Remedy{run("traceroute -n %v", e.Packet.Dst).In(st.enter(e.Netns)), run("ip route get %v", e.Packet.Dst).In(st.enter(e.Netns))},
	}
	if !round { // nothing was seen of its path
		f.Title = fmt.Sprintf("Packets to %v exceed their TTL at %s: a routing loop, or a small initial TTL.", e.Packet.Dst, at(e))
	}
	return f, true
}

// smallTTL reports a packet that came to its end though it was not seen to come round: its sender let it pass few
// routers, or none.
func smallTTL(e event.Event) event.Finding {
	return event.Finding{
		ID: "ttl-exceeded", Confidence: event.Likely, Subject: fmt.Sprintf("packets of %v at %s", e.Packet.Src, at(e)),
		Title: fmt.Sprintf("Packets from %v to %v arrive with TTL %d, so the node does not forward them.", e.Packet.Src, e.Packet.Dst, e.Packet.TTL),
		Cause: "They were not seen to loop, so their sender chose a small initial TTL: the metadata services of clouds do, so that the node can ask them and its pods cannot, " +
			"and so do BGP and some programs for multicast.",
		Evidence: []string{fmt.Sprintf("TTL %d%s", e.Packet.TTL, event.At(e))},
		Remedy: []event.Remedy{
			run("sysctl net.ipv4.ip_default_ttl net.ipv6.conf.all.hop_limit").Noting("on %v", e.Packet.Src),
			pipe(run(forFamily(e.Packet.Src, "iptables-save -t mangle")), run("grep -e TTL -e HL")).Noting("on %v", e.Packet.Src),
			do("if it is the metadata service of AWS, set the instance's http-put-response-hop-limit to 2 (aws ec2 modify-instance-metadata-options)"),
		},
	}
}

// neighbourFailed reports that the next host on the path does not answer with its link address.
func neighbourFailed(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	if !d.NoNeighbour() {
		return event.Finding{}, false
	}
	hop, device := e.Packet.Dst, e.Iface
	f := event.Finding{ID: "neighbour-failed", Confidence: event.Certain}
	if r, ok := st.route(e, false); ok && r.Errno == "" {
		device = r.Out
		if r.Gateway.IsValid() {
			hop = r.Gateway
		}
		f.Evidence = append(f.Evidence, "the route: "+describeRoute(r))
	}
	if st.effects.ndFiltered(hop) {
		return event.Finding{}, true // what the filter's rule did is reported
	}
	far, missing := st.isElsewhere(e, device, hop)
	if _, gone := st.effects.missingAddrs.Get(netnsAddr{far, hop}); gone {
		return event.Finding{}, false // packets arrived there for as long as its link address was remembered
	}
	n, ok := st.neighbours.Get(neighbourKey{e.Netns, device, hop})
	if ok {
		f.Evidence = append(f.Evidence, fmt.Sprintf("neighbour %v on %s is %s", n.Addr, n.Iface, n.State))
	}
	if dev, ok := st.devices.Get(deviceKey{e.Netns, device}); ok && dev.Tunnels() {
		f.About = event.About{Netns: e.Netns, Iface: device, Tunnel: true}
		f.Evidence = append(f.Evidence, device+" is a tunnel device: the host that is asked is at its other end")
	}
	protocol := "ARP"
	if e.Packet.Family == "ipv6" {
		protocol = "neighbour discovery"
	}
	f.Subject = fmt.Sprintf("%v on %s", hop, orLo(device))
	f.Title = fmt.Sprintf("%v does not answer %s on %s, so packets to %v are dropped.", hop, protocol, orLo(device), e.Packet.Dst)
	f.Cause = "The next host on the path is down, not on this link, or its answers do not come through."
	f.Remedy = []event.Remedy{run("ip neigh show %v", hop).In(st.enter(e.Netns)), run("arping -c3 -I %v %v", orLo(device), hop).In(st.enter(e.Netns))}
	if missing {
		f.Title = fmt.Sprintf("%v does not answer %s on %s: it is on no device of netns %d at the other end, so packets to it are dropped.", hop, protocol, device, far)
		f.Cause = "The address was removed from its device, or never set, or the route leads to the wrong host."
		for _, d := range st.devicesOf(far) {
			f.Evidence = append(f.Evidence, fmt.Sprintf("netns %d: %s, %s", far, d.Name, addresses(d)))
		}
	}
	if n.NoCarrier {
		f.Subject = fmt.Sprintf("device %s in netns %d", device, e.Netns)
		f.Title = fmt.Sprintf("Device %s has no carrier, so no host on it answers %s, and packets to %v are dropped.", device, protocol, e.Packet.Dst)
		f.Cause = "The other end of the device is down, or its cable is not plugged in, or the device itself is down."
		f.Remedy = []event.Remedy{run("ip -d link show dev %v", device).In(st.enter(e.Netns)).Noting("state, NO-CARRIER, its peer")}
	}
	st.overlapped(&f, e, device, hop)
	if d.Reason == "NEIGH_CREATEFAIL" {
		f.Cause = "The neighbour table is full (gc_thresh3)."
	}
	return f, true
}

// overlapped has the finding about a host that does not answer say that it was asked on the wrong network.
func (st *State) overlapped(f *event.Finding, e event.Event, device string, hop netip.Addr) {
	if mine, why := st.overlap(e, device, hop); why != "" {
		f.Title = fmt.Sprintf("Packets to %v go to %s, where no machine has that address: %s.", e.Packet.Dst, device, why)
		f.Cause = fmt.Sprintf("Two networks of this node share a range of addresses. The route to %v on %s takes what is for the other: the longest prefix wins, "+
			"and of equal ones the lowest metric.", mine, device)
		f.Remedy = append(f.Remedy, run(forFamily(e.Packet.Dst, "ip route show match %v"), e.Packet.Dst).In(st.enter(e.Netns)).Noting("the routes that could take it"),
			do(`give one of the two another range: of Docker, "bip" and "default-address-pools" in /etc/docker/daemon.json`))
	}
}
