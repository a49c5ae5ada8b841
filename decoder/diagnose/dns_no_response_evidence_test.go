package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ktrace/decoder"
)

// TestWhatNoAnswerMeans: it is certain only where everything was seen.
func TestWhatNoAnswerMeans(t *testing.T) {
	lost := decoder.Event{Header: decoder.Header{Time: time.Unix(1002, 0)}, Body: decoder.Fact{Counts: &decoder.Counts{Lost: decoder.Losses{Ring: 1}}}}
	device := decoder.Event{Body: decoder.Fact{Device: &decoder.Device{Netns: 7, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")}}}}
	with := func(change func(*decoder.DNS)) decoder.Event {
		e := timedQuery(0, 0, slowClient, slowServer)
		d := e.Body.(decoder.DNS)
		d.ClientNetns = 7
		change(&d)
		e.Body = d
		return e
	}
	for _, c := range []struct {
		name   string
		events []decoder.Event
		want   string
	}{
		{"live", []decoder.Event{with(func(*decoder.DNS) {})}, "critical certain"},
		{"live, and records were lost", []decoder.Event{lost, with(func(*decoder.DNS) {})}, "critical likely"},
		{"of a capture", []decoder.Event{with(func(d *decoder.DNS) { d.Captured = true })}, "critical likely"},
		{"of a capture of one direction", []decoder.Event{with(func(d *decoder.DNS) { d.Captured, d.OneSided = true, true })}, ""},
		{"to the network's broadcast address", []decoder.Event{device, with(func(d *decoder.DNS) { d.Server = netip.MustParseAddrPort("10.0.0.255:53") })}, ""},
		{"to an address of the network", []decoder.Event{device, with(func(d *decoder.DNS) { d.Server = netip.MustParseAddrPort("10.0.0.254:53") })}, "critical certain"},
		{"to the last address of an IPv6 network", []decoder.Event{device, with(func(d *decoder.DNS) { d.Server = netip.MustParseAddrPort("[fd00::ffff:ffff:ffff:ffff]:53") })}, "critical certain"},
		{"one of many", append(answeredQueries(30), with(func(*decoder.DNS) {})), "warning certain"},
		{"one of some", append(answeredQueries(3), with(func(*decoder.DNS) {})), "critical certain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := NewState()
			r := NewDNS(state, time.Second)
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

func answeredQueries(n int) (all []decoder.Event) {
	for i := range n {
		all = append(all, timedQuery(i*10, 1, slowClient, slowServer))
	}
	return all
}
