// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ktrace/decoder/packet/packettest"
)

func TestSegmentReadsWhatIsAcknowledgedBehindAGap(t *testing.T) {
	for name, c := range map[string]struct {
		options []byte
		want    uint32
	}{
		"no options":                    {nil, 0},
		"one block":                     {[]byte{1, 1, 5, 10, 0, 0, 3, 0, 0, 0, 4, 0}, 256},
		"two blocks":                    {[]byte{5, 18, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 6, 1, 1, 1}, 257},
		"data that came twice":          {[]byte{5, 10, 0, 0, 0, 1, 0, 0, 0, 9, 1, 1}, 0},
		"an option that is cut short":   {[]byte{1, 1, 1, 5}, 0},
		"an option of impossible size":  {[]byte{5, 0, 1, 1}, 0},
		"a block behind another option": {[]byte{3, 3, 7, 5, 10, 0, 0, 3, 0, 0, 0, 3, 4, 1, 1, 1}, 4},
		"what is behind the end":        {[]byte{0, 5, 10, 0, 0, 3, 0, 0, 0, 3, 4, 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			const ipv4Header = 20
			client, server := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
			b := packettest.Build(packettest.IPv4(client, server, layers.IPProtocolTCP), packettest.Segment(0xc000, 80, packettest.ACK, 7, 512),
				gopacket.Payload(c.options), gopacket.Payload{1, 2, 3})
			b[ipv4Header+12] = byte(5+len(c.options)/4) << 4 // the header is as long as with the options, of which some are malformed
			p := Parse(b, uint32(len(b)))
			got, ok := p.Segment()
			if want := (Segment{Seq: 7, Ack: 512, Window: 256, Bytes: 3, Sacked: c.want}); !ok || got != want {
				t.Errorf("got %+v, %v, want %+v", got, ok, want)
			}
		})
	}
}
