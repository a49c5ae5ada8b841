// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/packet"
)

// TestPlacesWithoutWhatIsUnknown: a drop has no direction, and one in a socket no device.
func TestPlacesWithoutWhatIsUnknown(t *testing.T) {
	query := packet.FlowTuple{Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("10.0.0.2:53")}
	for _, c := range []struct {
		s    Sight
		want string
	}{
		{Sight{Time: time.Unix(0, 0), Netns: 7, Iface: "eth0", Direction: Out, Flow: query}, "00:00:00.000000 eth0 out in netns 7: 10.0.0.1:40000 > 10.0.0.2:53"},
		{Sight{Time: time.Unix(0, 0), Netns: 7, Iface: "eth0", Flow: query}, "00:00:00.000000 eth0 in netns 7: 10.0.0.1:40000 > 10.0.0.2:53"},
		{Sight{Time: time.Unix(0, 0), Netns: 7, Flow: query}, "00:00:00.000000 no device in netns 7: 10.0.0.1:40000 > 10.0.0.2:53"},
	} {
		if got := c.s.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
