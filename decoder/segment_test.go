package decoder

import "testing"

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
			tcp := append([]byte{0xc0, 0, 0, 80, 0, 0, 0, 7, 0, 0, 2, 0, byte(5+len(c.options)/4) << 4, 0x10, 1, 0, 0, 0, 0, 0}, c.options...)
			ip := append([]byte{0x45, 0, 0, byte(20 + len(tcp) + 3), 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, tcp...)
			p := parsePacket(append(ip, 1, 2, 3), uint32(len(ip)+3))
			got, ok := p.Segment()
			if want := (Segment{Seq: 7, Ack: 512, Window: 256, Bytes: 3, Sacked: c.want}); !ok || got != want {
				t.Errorf("got %+v, %v, want %+v", got, ok, want)
			}
		})
	}
}
