// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/tls"
	"net/netip"
	"testing"
)

// TestAttackHandshakesThatNobodyEnds: one pod begins more of them than are remembered, before and while another's is refused.
func TestAttackHandshakesThatNobodyEnds(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:443")
	up, down := handshakeOf(t, &tls.Config{ServerName: "web.example.org", MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{certify(t, "web.example.org")}})
	tracker := NewTracker()
	n := 0
	flood := func() {
		for range 2 * maxHandshakes {
			n++
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 40000)
			begun := segments(at, server, [][]byte{{22, 3, 1, 2, 0, 1, 0}}, nil)[0]
			begun.Netns = 8
			tracker.Observe(begun)
		}
	}
	var ended *Refusal
	flood()
	for _, e := range segments(client, server, up, down) {
		if x, _ := tracker.Observe(e); x != nil {
			ended = x
		}
		flood()
	}
	if ended == nil || ended.Alert == nil || len(ended.Chain) != 1 {
		t.Errorf("the refusal of another pod: %+v", ended)
	}
	if tracker.Evicted() == 0 || tracker.all.Len() > maxHandshakes {
		t.Errorf("%d were evicted, %d are held", tracker.Evicted(), tracker.all.Len())
	}
}
