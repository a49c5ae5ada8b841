// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"reflect"
	"testing"

	"ktrace/decoder/wire"
	"ktrace/decoder/wire/wiretest"
)

// pathTuple is the record of one direction of a flow.
func pathTuple(src, dst string, proto uint8) wire.Tuple {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	t := wire.Tuple{Src: from.Addr().As16(), Dst: to.Addr().As16(), Sport: from.Port(), Dport: to.Port(), Proto: proto, Family: 6}
	if from.Addr().Is4() {
		t.Family = 4
	}
	return t
}

// pathHop is the record of a translated query at an uplink, with its bytes.
func pathHop(kind wire.Kind, payload []byte) wire.Path {
	r := wire.Path{
		Hdr:       wire.Header{Size: 744, Kind: uint16(kind), Netns: 7, Ifindex: 2, Journey: 99},
		Packet:    pathTuple("10.244.1.2:4000", "10.9.0.2:5353", 17),
		Original:  pathTuple("10.244.1.2:4000", "10.96.0.10:53", 17),
		Reply:     pathTuple("10.9.0.2:5353", "10.244.1.2:4000", 17),
		Status:    0x1a8,
		Len:       uint32(28 + len(payload)),
		Ttl:       63,
		Id:        11,
		L4:        20,
		Data:      28,
		Taken:     uint16(28 + len(payload)),
		Direction: uint8(wire.DirectionOut),
	}
	copy(r.Bytes[28:], payload)
	return r
}

func TestDecodeHop(t *testing.T) {
	e, err := Decode(wiretest.RawRecord(t, pathHop(wire.KindHop, []byte("payload"))))
	if err != nil {
		t.Fatal(err)
	}
	if e.Journey != 99 || e.Direction != Out || e.Netns != 7 || e.Ifindex != 2 {
		t.Errorf("header %+v", e.Header)
	}
	p := e.Packet
	if p.Family != "ipv4" || p.Proto != "udp" || p.Flow().String() != "10.244.1.2:4000 > 10.9.0.2:5353" || p.Len != 35 || p.TTL != 63 || p.ID != 11 {
		t.Errorf("packet %+v", p)
	}
	if got := string(p.Transport()); got != "payload" {
		t.Errorf("transport carries %q", got)
	}
	hop, ok := e.Body.(Hop)
	if !ok {
		t.Fatalf("body %T", e.Body)
	}
	if !hop.Conntrack.DNAT() || hop.Conntrack.SNAT() {
		t.Errorf("translation: %+v", hop.Conntrack)
	}
	if want := []string{"confirmed", "dst-nat", "src-nat-done", "dst-nat-done"}; !reflect.DeepEqual(hop.Conntrack.Status, want) {
		t.Errorf("status %v, want %v", hop.Conntrack.Status, want)
	}
}

func TestDecodeHopIsTotal(t *testing.T) {
	r := pathHop(wire.KindHop, nil)
	r.Taken, r.Data = 65535, 65535 // claims beyond the record
	r.Packet.Family, r.Packet.Proto = 9, 200
	e, err := Decode(wiretest.RawRecord(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if e.Packet.Family != "unknown(0x9)" || e.Packet.Proto != "200" || len(e.Packet.Transport()) != 0 {
		t.Errorf("packet %+v", e.Packet)
	}
}
