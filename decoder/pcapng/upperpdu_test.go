// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestUpperPDUComesBack(t *testing.T) {
	for _, c := range []struct {
		name string
		pdu  UpperPDU
		want UpperPDU
	}{
		{"all of it", fsyncPDU, fsyncPDU},
		{"nothing", UpperPDU{Payload: []byte{}}, UpperPDU{Payload: []byte{}}},
		{"text of another length than its padding", UpperPDU{"a", "bcd", "efghi", []byte("x")}, UpperPDU{"a", "bcd", "efghi", []byte("x")}},
		{"NUL ends no text", UpperPDU{Info: "a\x00b", Payload: []byte{}}, UpperPDU{Info: "ab", Payload: []byte{}}},
		{"long text is cut between characters", UpperPDU{Info: "a" + strings.Repeat("é", 3000), Payload: []byte{}},
			UpperPDU{Info: "a" + strings.Repeat("é", 2047), Payload: []byte{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := ParseUpperPDU(c.pdu.Append(nil)); !ok || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v %v, want %+v", got, ok, c.want)
			}
		})
	}
}

func TestUpperPDUThatOverrunsItsPacketIsRefused(t *testing.T) {
	whole := UpperPDU{Dissector: "json"}.Append(nil)
	for n := range whole {
		if got, ok := ParseUpperPDU(whole[:n]); ok {
			t.Errorf("got %+v out of %d bytes of %d", got, n, len(whole))
		}
	}
}

var fsyncPDU = UpperPDU{
	Dissector: "json",
	Protocol:  "ktrace",
	Info:      "fsync etcd 12.3ms",
	Payload:   []byte(`{"event":"fsync","latency_ns":12300000}`),
}

func TestTsharkDissectsAnEventAmongPackets(t *testing.T) {
	eth, events := NewInterface("eth0", "", LinkEthernet, 0), NewInterface("ktrace", "", LinkUpperPDU, 0)
	capture := written(t, WriterOptions{}, func(w *Writer) error {
		event := Packet{Interface: events, Time: 1_700_000_000_000_000_001, Data: fsyncPDU.Append(nil)}
		return errors.Join(w.WriteSection(Options{}), w.AddInterface(eth), w.AddInterface(events),
			w.WritePacket(&Packet{Interface: eth, Time: 1_700_000_000_000_000_000, Data: frame}), w.WritePacket(&event))
	})
	got := tool(t, "tshark", "-n", "-r", stored(t, capture), "-Y", `json.value.string == "fsync"`, "-T", "fields",
		"-e", "frame.number", "-e", "frame.time_epoch", "-e", "_ws.col.Protocol", "-e", "json.value.number")
	fields := strings.Split(strings.TrimSpace(got), "\t")
	want := []string{"2", "1700000000.000000001", "ktrace/JSON", "12300000"}
	if !reflect.DeepEqual(fields, want) {
		t.Errorf("got %q, want %q", fields, want)
	}
}
