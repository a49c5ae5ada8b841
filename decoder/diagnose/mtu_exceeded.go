// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ktrace/decoder/event"
)

// mtuExceeded reports a packet that was larger than what it had to go through.
func mtuExceeded(st *State, e event.Event, d event.Drop) (event.Finding, bool) {
	m, ok := st.MTU(e, d)
	if !ok {
		return event.Finding{}, false
	}
	f := event.Finding{
		ID: "mtu-exceeded", Confidence: event.Certain, Subject: fmt.Sprintf("%s in netns %d", orSome(m.Device), e.Netns),
		Title:    fmt.Sprintf("Packets of %d bytes to %v are too big for %s, which takes %d, and are dropped.", m.Length, e.Packet.Dst, orSome(m.Device), m.Limit),
		Evidence: []string{fmt.Sprintf("length %d, limit %d at %s (%s)", m.Length, m.Limit, orSome(m.Device), m.Site)},
		Remedy: []event.Remedy{
			run("ip -d link show dev %v", strings.TrimPrefix(m.Device, otherEnd)).In(st.enter(e.Netns)).Noting("its MTU and its other end's, against that of the pods' devices"),
			largestPing(m.Limit, e.Packet.Dst),
		},
		Cause: "The sender was sent an ICMP error, and should send smaller packets from now on. If it goes on, the error does not reach it.",
	}
	if m.Limit == 0 {
		f.Title = fmt.Sprintf("Packets of %d bytes to %v are too big for the path, and are dropped.", m.Length, e.Packet.Dst)
	}
	switch {
	case m.ICMPSent:
		f.Severity = event.Info // so path MTU discovery works
	case m.Silent:
		f.Cause = "Here the kernel sends no ICMP error, so the sender goes on with large packets: small ones pass, transfers hang."
	case d.Lost != nil:
		f.Cause = "Whether the sender was sent an ICMP error is not known: " + d.Lost.String() + "."
		f.Severity = event.Warning
	default:
		f.Cause = "No ICMP error was sent, so the sender goes on with large packets: small ones pass, transfers hang."
	}
	return f, true
}

// MTUs is the stage for packets that were too big: which, where, and whether an ICMP error was sent. It wants drops as
// stage.NewDrops completes them.
type MTUs struct {
	state   *State
	pending *pending
	only    event.Single
}

// NewMTUs returns the stage; state must observe events in the same run.
func NewMTUs(state *State) *MTUs { return &MTUs{state: state, pending: newPending()} }

// Observe implements stage.Stage.
func (x *MTUs) Observe(e event.Event) []event.Event {
	if d, ok := e.Body.(event.Drop); ok && d.Noise == "" && e.Packet != nil && !d.ByNetfilter() {
		x.pending.add(e, d.Reason+" "+d.Location, d.Answer != nil)
	}
	return x.only.Event(e)
}

// Flush implements stage.Stage.
func (x *MTUs) Flush(now time.Time, final bool) []event.Event {
	var found []event.Event
	for _, h := range x.pending.expired(now, final, x.state.awaitsFacts) {
		e := h.event
		if m, ok := x.state.MTU(e, e.Body.(event.Drop)); ok {
			m.Count, m.Flow = h.count, e.Packet.Flow()
			e.Body = m
			found = append(found, e)
		}
	}
	return found
}

// ignored turns the finding into one about the sender if that was sent an ICMP error, and went on for a good while.
func (h *pendingDrop) ignored(f event.Finding) event.Finding {
	const bursts = 3 // packets behind the answer that are no burst which was on its way
	if f.ID != "mtu-exceeded" || h.after < bursts {
		return f
	}
	f.ID, f.Severity = "pmtu-icmp-ignored", ""
	f.Title = fmt.Sprintf("%v keeps sending packets to %v that are too big, after an ICMP error about them.", h.event.Packet.Src, h.event.Packet.Dst)
	f.Cause = "The ICMP error left for the sender, but the sender's packets stay as large: something on the path drops ICMP, " +
		"the program sets the DF flag and ignores errors, or path MTU discovery is off."
	f.Evidence = append(f.Evidence, fmt.Sprintf("%d packets as large were sent %v and more after the first answer", h.after, answerWithin))
	f.Remedy = append(atSender(h.event.Packet.Src), f.Remedy...)
	return f
}

// largestPing is the ping whose packet has just the size that a way takes.
func largestPing(limit uint32, to netip.Addr) event.Remedy {
	headers := 28 // IPv4 and ICMP
	if to.Is6() {
		headers = 48
	}
	return run("ping -c1 -M do -s %v %v", max(0, int(limit)-headers), to).Noting("the largest that fits")
}

func orSome(device string) string {
	if device == "" {
		return "a device"
	}
	return device
}

// MTU returns what a drop says of a packet that was too big. Only some places give a reason of their own; for the others
// the function, the length and the device show it.
func (st *State) MTU(e event.Event, d event.Drop) (event.MTU, bool) {
	m := event.MTU{Length: e.Packet.Len, Device: e.Iface, Answer: d.Answer}
	site, known := mtuSites()[d.Location]
	icmpSent := d.Answer != nil && d.Answer.MTU != 0 && (known || d.Unexplained() || d.Reason == "PKT_TOO_BIG")
	if !known && !icmpSent && d.Reason != "PKT_TOO_BIG" {
		return m, false
	}
	m.Site, m.Silent, m.ICMPSent = site.name, site.silent, icmpSent
	if m.Site == "" {
		m.Site = d.Location
	}
	if icmpSent {
		m.Limit = d.Answer.MTU
	}
	if r, ok := st.route(e, false); ok && r.Errno == "" {
		m.Device = r.Out
		if m.Limit == 0 {
			m.Limit = limitOf(r)
		}
	}
	dev, ok := st.devices.Get(deviceKey{e.Netns, e.Iface})
	if site.name == forward { // the event's device is the one that it came in by, and the packet may be many segments in one
		ok = false
	}
	if ok && (site.silent || dev.MTU < int(m.Length) && dev.MTU <= int(max(m.Limit, m.Length))) {
		m.Device = dev.Name
		m.Limit = uint32(dev.MTU)
		if site.name == "veth" && dev.PeerMTU != 0 {
			m.Device, m.Limit = otherEnd+dev.Name, uint32(dev.PeerMTU)
		}
	}
	if d.Reason == "PKT_TOO_BIG" || icmpSent {
		return m, true
	}
	return m, m.Limit > 0 && m.Length > m.Limit // these functions drop for other causes too
}

// forward is the site of what passes through.
const forward = "forward"

// otherEnd is what a veth's peer, whose name is not known here, is called by.
const otherEnd = "the other end of "

// limitOf is the longest packet that a route takes.
func limitOf(r event.Route) uint32 {
	if r.MTU != 0 && (r.Link == 0 || r.MTU < r.Link) {
		return r.MTU
	}
	return r.Link
}

// site is a place in the kernel where packets are too big.
type site struct {
	name   string
	silent bool // no ICMP error is sent there
}

// mtuSites are the functions that drop what is too big, of whatever reason.
func mtuSites() map[string]site {
	return map[string]site{
		"ip_forward":             {name: forward},
		"ip6_forward":            {name: forward},
		"ip_fragment":            {name: "output"},
		"ip_do_fragment":         {name: "output"},
		"ip6_fragment":           {name: "output"},
		"__dev_forward_skb":      {name: "veth", silent: true},
		"__dev_forward_skb2":     {name: "veth", silent: true},
		"dev_forward_skb":        {name: "veth", silent: true},
		"veth_xmit":              {name: "veth", silent: true},
		"br_dev_queue_push_xmit": {name: "bridge", silent: true},
		"br_nf_dev_queue_xmit":   {name: "bridge", silent: true},
		"br_forward_finish":      {name: "bridge", silent: true},
		"__br_forward":           {name: "bridge", silent: true},
		"vxlan_xmit_one":         {name: "vxlan"},
		"__ip_vs_get_out_rt":     {name: "ipvs"},
		"iptunnel_xmit":          {name: "tunnel"},
		"ovs_dp_process_packet":  {name: "ovs"},
	}
}
