// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"testing"
)

// TestFlowKey wants one key for one flow, another for every other one, and the same ends for both directions.
func TestFlowKey(t *testing.T) {
	flow := func(src, dst string) FlowTuple {
		return FlowTuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
	}
	one := flow("10.0.0.1:2000", "10.0.0.2:53")
	keys := map[FlowKey]bool{}
	for _, k := range []FlowKey{
		one.Key("udp", 0), one.Key("tcp", 0), one.Key("47", 0), one.Key("udp", 7), one.Reverse().Key("udp", 0),
		flow("10.0.0.1:2001", "10.0.0.2:53").Key("udp", 0), flow("10.0.0.1:2000", "10.0.0.3:53").Key("udp", 0),
		flow("[::ffff:10.0.0.1]:2000", "[::ffff:10.0.0.2]:53").Key("udp", 0), flow("[fd00::1]:2000", "[fd00::2]:53").Key("udp", 0),
	} {
		if keys[k] {
			t.Errorf("%+v is the key of two flows", k)
		}
		keys[k] = true
	}
	if p := (&Packet{Proto: "udp", Src: one.Src.Addr(), Sport: 2000, Dst: one.Dst.Addr(), Dport: 53}); p.FlowKey() != one.Key("udp", 0) {
		t.Error("a packet and its flow have two keys")
	}
	there, from, to := one.Key("udp", 0).Ends()
	back, answerFrom, answerTo := one.Reverse().Key("udp", 0).Ends()
	if there != back || from == to || from != answerTo || to != answerFrom {
		t.Errorf("one direction has %v %d %d, the other %v %d %d", there, from, to, back, answerFrom, answerTo)
	}
	if _, from, to := flow("127.0.0.1:9", "127.0.0.1:9").Key("udp", 0).Ends(); from != to {
		t.Error("a socket that sends to itself has two ends")
	}
}
