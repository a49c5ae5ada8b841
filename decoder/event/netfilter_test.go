// SPDX-License-Identifier: Apache-2.0

package event

import (
	"reflect"
	"testing"

	"ktrace/decoder/wire"
	"ktrace/decoder/wire/wiretest"
)

const nfClient, nfServer = "10.0.0.1:40000", "10.0.0.2:80"

// netfilterRaw is a record about a SYN from the client to the server.
func netfilterRaw(t testing.TB, r wire.Netfilter) []byte {
	t.Helper()
	r.Hdr.Size, r.Hdr.Kind = uint32((*wire.Netfilter)(nil).RecordSize()), uint16(wire.KindNetfilter)
	r.Packet, r.TcpFlags = tuple(nfClient, nfServer, 6, 4), 2
	return wiretest.RawRecord(t, r)
}

func TestDecodeNetfilter(t *testing.T) {
	text := func(s string) (b [128]uint8) { copy(b[:], s); return b }
	flow := tuple(nfClient, nfServer, 6, 4)
	for _, c := range []struct {
		name   string
		record wire.Netfilter
		want   Netfilter
	}{
		{"a verdict", wire.Netfilter{Op: uint32(wire.NetfilterVerdict), Pf: 2, Hook: 2}, Netfilter{Op: NetfilterVerdict, Family: "ipv4", Hook: "forward"}},
		{"of a bridge", wire.Netfilter{Op: uint32(wire.NetfilterVerdict), Pf: 7, Hook: 4}, Netfilter{Op: NetfilterVerdict, Family: "bridge", Hook: "postrouting"}},
		{"of a device", wire.Netfilter{Op: uint32(wire.NetfilterVerdict), Pf: 5, Hook: 1}, Netfilter{Op: NetfilterVerdict, Family: "netdev", Hook: "egress"}},
		{"of who knows what", wire.Netfilter{Op: uint32(wire.NetfilterVerdict), Pf: 99, Hook: 77},
			Netfilter{Op: NetfilterVerdict, Family: "unknown(0x63)", Hook: "unknown(0x4d)"}},
		{"no rule", wire.Netfilter{Op: uint32(wire.NetfilterUntranslated), Hook: noHook}, Netfilter{Op: NetfilterUntranslated}},
		{"a reset", wire.Netfilter{Op: uint32(wire.NetfilterRejected), Pf: 10, Hook: 1},
			Netfilter{Op: NetfilterRejected, Family: "ipv6", Hook: "input", Answer: "tcp-reset"}},
		{"an ICMP error", wire.Netfilter{Op: uint32(wire.NetfilterRejected), Pf: 2, Hook: 3, Icmp: 3<<8 | 13},
			Netfilter{Op: NetfilterRejected, Family: "ipv4", Hook: "output", Answer: "admin-prohibited"}},
		{"a race", wire.Netfilter{Op: uint32(wire.NetfilterRefused), Hook: noHook, Original: flow, Reply: tuple(nfServer, nfClient, 6, 4)},
			Netfilter{Op: NetfilterRefused, Lost: NewConntrack(tupleFlow(&flow), tupleFlow(&flow).Reverse())}},
		{"an entry on its way out", wire.Netfilter{Op: uint32(wire.NetfilterRefused), Hook: noHook, Status: ipsDying}, Netfilter{Op: NetfilterRefused, Dying: true}},
		{"a text without its numbers", wire.Netfilter{Op: uint32(wire.NetfilterInvalid), Hook: noHook, Text: text("packet (index %d) in dir %-3d ignored, state %s")},
			Netfilter{Op: NetfilterInvalid, Text: "packet (index) in dir ignored, state"}},
		{"an operation of the future", wire.Netfilter{Op: 99, Hook: noHook}, Netfilter{Op: "unknown(0x63)"}},
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
