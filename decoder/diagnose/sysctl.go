// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/event"
)

// loopbackRoute reports a packet from a loopback address that was translated to go elsewhere, as a node port asked for at
// 127.0.0.1 is. The kernel finds no route for it unless that is set (ip_route_me_harder, __mkroute_output), and the
// hook that translates throws it away.
func loopbackRoute(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	const key = "net.ipv4.conf.all.route_localnet"
	p := e.Packet
	if !d.ByNetfilter() || !p.Src.IsLoopback() || p.Dst.IsLoopback() || !d.Conntrack.DNAT() || st.sysctl(e.Netns, key) != "0" {
		return event.Finding{}, false
	}
	return event.Finding{
		ID: "sysctl-wrong", Confidence: event.Certain, Subject: fmt.Sprintf("%s in netns %d", key, e.Netns),
		Title: fmt.Sprintf("%s is 0, so connections from this host to %v do not reach the backend %v.", key, d.Conntrack.Original.Dst, p.Destination()),
		Cause: "The rules translate the destination, but a packet with a loopback source may leave by no other device than lo unless route_localnet is set; it is dropped before its source is translated.",
		Evidence: []string{
			fmt.Sprintf("%s = 0 in netns %d, wanted 1", key, e.Netns),
			d.Conntrack.String(),
		},
		Remedy: []event.Remedy{
			run("sysctl -w %v=1", key).In(st.enter(e.Netns)).Noting("kube-proxy does so itself, unless --iptables-localhost-nodeports=false"),
			do("or ask at another address of the host than %v", d.Conntrack.Original.Dst.Addr()),
		},
	}, true
}

// Bridges is the rule for nodes that translate services and pass packets on a bridge without asking netfilter: answers
// of a backend on the client's own bridge are not translated back. It wants hops, and belongs among the symptoms: that
// an answer did so is the better proof.
type Bridges struct {
	state *State
	seen  map[bridgeKey]event.Event
}

type bridgeKey struct {
	netns  uint32
	iface  string
	family string
}

// NewBridges returns the rule; state must observe events before it.
func NewBridges(state *State) *Bridges {
	return &Bridges{state: state, seen: map[bridgeKey]event.Event{}}
}

// Observe implements stage.Rule.
func (r *Bridges) Observe(e event.Event) []event.Finding {
	if e.Kind() != event.KindHop || e.Packet == nil || e.Packet.Dst.IsMulticast() {
		return nil
	}
	if d, _ := r.state.devices.Get(deviceKey{e.Netns, e.Iface}); d.Type != "bridge" || !r.state.ofPods(e, d) {
		return nil
	}
	key := bridgeKey{e.Netns, e.Iface, e.Packet.Family}
	if _, ok := r.seen[key]; !ok && len(r.seen) < maxFlows {
		r.seen[key] = e
	}
	return nil
}

// ofPods reports whether a packet at a bridge shows that pods are on it: a host with an address of the bridge's net asks
// a service. On a bridge that is the node's uplink are hosts that do not, and no backends.
func (st *State) ofPods(e event.Event, bridge event.Device) bool {
	p, c := e.Packet, e.Body.(event.Hop).Conntrack
	on := slices.ContainsFunc(bridge.Addrs, func(net netip.Prefix) bool { return net.Addr() != p.Src && net.Masked().Contains(p.Src) })
	_, asks := st.ServiceAt(e.Netns, p.Proto, p.Destination())
	return on && (asks || c.DNAT() && c.Original.Src.Addr() == p.Src)
}

// Flush implements stage.Rule.
func (r *Bridges) Flush(now time.Time, final bool) []event.Finding {
	var found []event.Finding
	if !final {
		return nil
	}
	for key, e := range r.seen {
		if f, ok := r.state.bridgeBypassesNetfilter(key, e); ok {
			f.Time, f.First, f.Last = now, e.Time, e.Time
			found = append(found, f)
		}
	}
	return found
}

// bridgeBypassesNetfilter concludes from a bridge that carries packets.
func (st *State) bridgeBypassesNetfilter(at bridgeKey, e event.Event) (event.Finding, bool) {
	key := "net.bridge.bridge-nf-call-iptables"
	if at.family == "ipv6" {
		key = "net.bridge.bridge-nf-call-ip6tables"
	}
	services := st.translated(at)
	if st.sysctl(at.netns, key) != "0" || services == 0 {
		return event.Finding{}, false
	}
	return event.Finding{
		ID: "sysctl-wrong", Severity: event.Warning, Confidence: event.Likely, Subject: fmt.Sprintf("%s in netns %d", key, at.netns), Count: 1,
		About: event.About{Netns: at.netns, Iface: at.iface},
		Title: fmt.Sprintf("%s is 0 on a node with services and a bridge: pods on %s cannot reach services through backends on it.", key, at.iface),
		Cause: "The node translates a pod's request to a service, but the answer of a backend on the same bridge is passed on without asking netfilter, " +
			"so it is not translated back and the client discards it.",
		Evidence: []string{
			fmt.Sprintf("%s = 0 in netns %d, wanted 1", key, at.netns),
			fmt.Sprintf("%s is a bridge, and carried %v", at.iface, e.Packet),
			fmt.Sprintf("rules there translate %d services", services),
		},
		Remedy: []event.Remedy{
			run("modprobe br_netfilter"),
			run("sysctl -w %v=1", key).In(st.enter(at.netns)),
			pipe(run("echo %v=1", key), run("tee -a /etc/sysctl.d/99-kubernetes.conf")).Noting("for after the next boot"),
		},
	}, true
}

// translated is how many services the rules of a namespace translate, in the family.
func (st *State) translated(at bridgeKey) int {
	n := 0
	for _, s := range st.services.facts {
		if s.Netns != at.netns || s.Source != "iptables" && s.Source != "nftables" {
			continue
		}
		for _, a := range s.Addrs {
			if a.Is4() == (at.family == "ipv4") {
				n++
				break
			}
		}
	}
	return n
}
