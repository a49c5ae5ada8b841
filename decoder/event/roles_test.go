// SPDX-License-Identifier: Apache-2.0

package event

import (
	"testing"

	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// TestFindingsNameWhoAsksByRole: the one that is known may as well be the server.
func TestFindingsNameWhoAsksByRole(t *testing.T) {
	db := Pod{Name: "db", UID: "d"}
	for _, c := range []struct {
		name   string
		packet *packet.Packet
		toPod  bool // it goes to the server
		body   Body
	}{
		{"a process of the node asks a pod", packet.OfFlow("tcp", eventtest.Flow("192.0.2.1:40000", "10.9.0.2:80"), "S"), true, Drop{}},
		{"a pod answers a process of the node", packet.OfFlow("tcp", eventtest.Flow("10.9.0.2:80", "192.0.2.1:40000"), "S."), false, Drop{}},
		{"a connect that has no port yet, nor an address", packet.OfFlow("tcp", eventtest.Flow("0.0.0.0:0", "10.9.0.2:80"), ""), true, Sock{Op: SockNoRoute}},
		{"an answer to an ephemeral port", packet.OfFlow("udp", eventtest.Flow("10.9.0.2:53", "192.0.2.1:40000"), ""), false, Hop{}},
	} {
		e := Event{Pod: db, ToPod: c.toPod, Packet: c.packet, Body: c.body}
		if f := (Finding{}).Of(e); f.Pod != (Pod{}) || f.Peer != db {
			t.Errorf("%s: %q is the client and %q the server, want the pod to be the server", c.name, f.Pod.Name, f.Peer.Name)
		}
	}
}
