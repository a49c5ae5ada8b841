package decoder

import "testing"

func TestParseIPv6BehindExtensionHeaders(t *testing.T) {
	b := make([]byte, 40)
	b[0], b[6], b[7], b[23], b[39] = 0x60, 0, 64, 1, 2 // hop-by-hop options follow; ::1 > ::2
	b = append(b, 44, 0, 0, 0, 0, 0, 0, 0)             // a fragment header follows
	b = append(b, 17, 0, 0, 1, 0, 0, 0, 9)             // the first fragment, number 9, of UDP
	b = append(b, 0, 53, 0x10, 0, 0, 12, 0, 0, 'd', 'a', 't', 'a')
	p := ParseIP(b)
	if p == nil || p.Proto != "udp" || p.Flow().String() != "[::1]:53 > [::2]:4096" || p.ID != 9 || string(p.Transport()) != "data" {
		t.Errorf("got %+v", p)
	}
}

func FuzzParseIP(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 28, 0, 0, 0x20, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2})
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 8, 60, 64}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := ParseIP(b)
		if p == nil {
			return
		}
		if !p.Src.IsValid() || !p.Dst.IsValid() || p.Family == "" || p.Proto == "" {
			t.Errorf("%x: %+v", b, p)
		}
		p.Transport()
	})
}

func TestFlowsOfProtocolsWithoutPortsShowNone(t *testing.T) {
	icmp := ParseIP([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 1, 0, 1})
	if got := icmp.String(); got != "icmp 10.0.0.1 > 10.0.0.2 len 28" {
		t.Errorf("got %s", got)
	}
}
