// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
)

// TestWhatNoAnswerMeans: it is certain only where everything was seen.
func TestWhatNoAnswerMeans(t *testing.T) {
	device := event.Event{Body: event.Fact{Device: &event.Device{Netns: 7, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")}}}}
	with := func(change func(*event.DNS)) event.Event {
		e := timedQuery(0, 0, slowClient, slowServer)
		d := e.Body.(event.DNS)
		d.ClientNetns = 7
		change(&d)
		e.Body = d
		return e
	}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   string
	}{
		{"live", []event.Event{with(func(*event.DNS) {})}, "critical certain"},
		{"of which records were lost", []event.Event{with(func(d *event.DNS) { d.Outcome = event.DNSUnknown })}, "critical certain"}, // LossAware makes it possible
		{"of which records were lost, to a server that answers", append(answeredQueries(1), with(func(d *event.DNS) { d.Outcome = event.DNSUnknown })), ""},
		{"of a capture", []event.Event{with(func(d *event.DNS) { d.Captured = true })}, "critical likely"},
		{"of a capture of one direction", []event.Event{with(func(d *event.DNS) { d.Captured, d.OneSided = true, true })}, ""},
		{"to the network's broadcast address", []event.Event{device, with(func(d *event.DNS) { d.Server = netip.MustParseAddrPort("10.0.0.255:53") })}, ""},
		{"to an address of the network", []event.Event{device, with(func(d *event.DNS) { d.Server = netip.MustParseAddrPort("10.0.0.254:53") })}, "critical certain"},
		{"to the last address of an IPv6 network", []event.Event{device, with(func(d *event.DNS) { d.Server = netip.MustParseAddrPort("[fd00::ffff:ffff:ffff:ffff]:53") })}, "critical certain"},
		{"one of many", append(answeredQueries(30), with(func(*event.DNS) {})), "warning certain"},
		{"one of some", append(answeredQueries(3), with(func(*event.DNS) {})), "critical certain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			r := state.Grade(NewDNS(state, time.Second))
			var said []string
			for _, e := range c.events {
				state.Observe(e)
				for _, f := range r.Observe(e) {
					said = append(said, string(f.Severity)+" "+string(f.Confidence))
				}
			}
			if got := strings.Join(said, ", "); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func answeredQueries(n int) (all []event.Event) {
	for i := range n {
		all = append(all, timedQuery(i*10, 1, slowClient, slowServer))
	}
	return all
}
