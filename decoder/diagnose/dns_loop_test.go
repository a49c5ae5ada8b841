package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder"
)

// TestAServerThatAsksItselfIsALoop: one that has a resolver beside it asks that once.
func TestAServerThatAsksItselfIsALoop(t *testing.T) {
	const client, serving = 7, 8
	query := func(netns uint32, from, to string, last uint32) decoder.Event {
		src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
		return decoder.Event{
			Header: decoder.Header{Time: time.Unix(1000, 0), Netns: netns},
			Packet: &decoder.Packet{Family: "ipv4", Proto: "udp", Src: src.Addr(), Sport: src.Port(), Dst: dst.Addr(), Dport: dst.Port()},
			Body:   decoder.DNS{Name: "Example.com", Type: "A", Server: dst, Transport: "udp", ClientNetns: netns, Last: &decoder.Sight{Netns: last}},
		}
	}
	asked := query(client, "10.244.1.2:40000", "10.244.1.3:53", serving)
	lo := query(serving, "127.0.0.1:40001", "127.0.0.53:53", serving)
	own := query(serving, "10.244.1.3:40001", "10.244.1.3:53", serving)
	outside := query(serving, "10.244.1.3:40001", "10.9.0.2:53", 9)
	times := func(n int, e decoder.Event, more ...decoder.Event) (all []decoder.Event) {
		for range n {
			all = append(all, e)
		}
		return append(all, more...)
	}
	for _, tt := range []struct {
		name   string
		events []decoder.Event
		want   bool
	}{
		{"it asks its loopback address", times(20, lo, times(2, asked)...), true},
		{"and its clients gave up before", append(times(2, asked), times(20, lo)...), true},
		{"it asks its own address", times(20, own, asked), true},
		{"a resolver beside it is asked once for each", append(times(20, asked), times(20, lo)...), false},
		{"it asks a server outside", times(20, outside, asked), false},
		{"a program asks a resolver of its own pod", times(20, lo), false},
	} {
		k := learnt([]decoder.Fact{{Device: &decoder.Device{Netns: serving, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.3/24")}}}})
		r := NewDNSLoops(k)
		var folder decoder.Folder
		for _, e := range tt.events {
			for _, f := range r.Observe(e) {
				folder.Add(f)
			}
		}
		all := folder.All()
		if tt.want && (len(all) != 1 || all[0].ID != "dns-bad-resolv-conf") || !tt.want && len(all) > 0 {
			t.Errorf("%s: %+v", tt.name, all)
		}
	}
}
