package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder"
)

// TestWhatOldKernelsDoNotReportIsAsked: before 5.17 a drop has no reason, but the kernel says what is wrong with a packet
// to who asks for its way.
func TestWhatOldKernelsDoNotReportIsAsked(t *testing.T) {
	src, dst := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.9.0.2")
	e := decoder.Event{Header: decoder.Header{Time: time.Unix(1000, 0), Netns: 7, Iface: "veth1"},
		Packet: &decoder.Packet{Family: "ipv4", Proto: "icmp", Src: src, Dst: dst, TTL: 64}}
	about := decoder.Ask(e)
	for _, tt := range []struct {
		name, location, reason, errno, back, want string
	}{
		{"the way back leads elsewhere", "ip_rcv_finish_core", decoder.ReasonNotTold, "EXDEV", "unicast", "rp-filter"},
		{"the source is the host's own", "ip_rcv_finish_core", decoder.ReasonNotTold, "", "local", "martian-source"},
		{"the kernel has no objection now", "ip_rcv_finish_core", decoder.ReasonNotTold, "", "unicast", "kernel-drop"},
		{"another function", "tcp_v4_rcv", decoder.ReasonNotTold, "EXDEV", "unicast", ""},
		{"a kernel that gave another reason", "ip_rcv_finish_core", "IP_CSUM", "EXDEV", "unicast", "checksum-error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := NewFacts()
			for _, r := range []decoder.Route{
				{About: about, Dst: dst, In: "veth1", Errno: tt.errno},
				{About: about, Reverse: true, Dst: src, Type: tt.back},
			} {
				k.Observe(decoder.Event{Body: decoder.Fact{Route: &r}})
			}
			f, _ := k.Proves(e, decoder.Drop{Reason: tt.reason, Location: tt.location})
			if f.ID != tt.want || f.ID != "" && f.Confidence != decoder.Certain {
				t.Errorf("%q (%s), want %q", f.ID, f.Confidence, tt.want)
			}
		})
	}
}
