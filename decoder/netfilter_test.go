package decoder

import (
	"reflect"
	"testing"
)

const nfClient, nfServer = "10.0.0.1:40000", "10.0.0.2:80"

// netfilterRaw is a record about a SYN from the client to the server.
func netfilterRaw(t testing.TB, r netfilterRecord) []byte {
	t.Helper()
	r.Hdr.Size, r.Hdr.Kind = uint32((*netfilterRecord)(nil).recordSize()), uint16(kindNetfilter)
	r.Packet, r.TcpFlags = tuple(nfClient, nfServer, 6, 4), 2
	return rawRecord(t, r)
}

func TestDecodeNetfilter(t *testing.T) {
	text := func(s string) (b [128]uint8) { copy(b[:], s); return b }
	flow := tuple(nfClient, nfServer, 6, 4)
	for _, c := range []struct {
		name   string
		record netfilterRecord
		want   Netfilter
	}{
		{"a verdict", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 2, Hook: 2}, Netfilter{Op: NetfilterVerdict, Family: "ipv4", Hook: "forward"}},
		{"of a bridge", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 7, Hook: 4}, Netfilter{Op: NetfilterVerdict, Family: "bridge", Hook: "postrouting"}},
		{"of a device", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 5, Hook: 1}, Netfilter{Op: NetfilterVerdict, Family: "netdev", Hook: "egress"}},
		{"of who knows what", netfilterRecord{Op: uint32(netfilterVerdict), Pf: 99, Hook: 77},
			Netfilter{Op: NetfilterVerdict, Family: "unknown(0x63)", Hook: "unknown(0x4d)"}},
		{"no rule", netfilterRecord{Op: uint32(netfilterUntranslated), Hook: noHook}, Netfilter{Op: NetfilterUntranslated}},
		{"a reset", netfilterRecord{Op: uint32(netfilterRejected), Pf: 10, Hook: 1},
			Netfilter{Op: NetfilterRejected, Family: "ipv6", Hook: "input", Answer: "tcp-reset"}},
		{"an ICMP error", netfilterRecord{Op: uint32(netfilterRejected), Pf: 2, Hook: 3, Icmp: 3<<8 | 13},
			Netfilter{Op: NetfilterRejected, Family: "ipv4", Hook: "output", Answer: "admin-prohibited"}},
		{"a race", netfilterRecord{Op: uint32(netfilterRefused), Hook: noHook, Original: flow, Reply: tuple(nfServer, nfClient, 6, 4)},
			Netfilter{Op: NetfilterRefused, Lost: NewConntrack(tupleFlow(&flow), tupleFlow(&flow).Reverse())}},
		{"an entry on its way out", netfilterRecord{Op: uint32(netfilterRefused), Hook: noHook, Status: ipsDying}, Netfilter{Op: NetfilterRefused, Dying: true}},
		{"a text without its numbers", netfilterRecord{Op: uint32(netfilterInvalid), Hook: noHook, Text: text("packet (index %d) in dir %-3d ignored, state %s")},
			Netfilter{Op: NetfilterInvalid, Text: "packet (index) in dir ignored, state"}},
		{"an operation of the future", netfilterRecord{Op: 99, Hook: noHook}, Netfilter{Op: "unknown(0x63)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Decode(netfilterRaw(t, c.record))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(e.Body, c.want) {
				t.Errorf("got %+v, want %+v", e.Body, c.want)
			}
			if got := e.Packet.Flow().String(); got != nfClient+" > "+nfServer || e.Packet.Flags != "S" {
				t.Errorf("packet %v", e.Packet)
			}
		})
	}
}
