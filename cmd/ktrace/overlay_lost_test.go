// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync/atomic"
	"testing"

	"ktrace/testdata/lab"
)

// TestDiagnoseFindsWhyATunnelsPacketIsNotTaken: it arrives at the other node, so no firewall is between them.
func TestDiagnoseFindsWhyATunnelsPacketIsNotTaken(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		traffic := func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
			for range 3 {
				pingFrom(p.NS, f.sub(p, "3"))
			}
		}
		garbles := each[*atomic.Bool]{}
		bad := &overlay{f: f, spoil: func(c *lab.Cluster, b []byte) {
			if garbles.get(c).Load() {
				garble(b)
			}
		}}
		stale := &overlay{f: f}
		all = append(all, lab.Scenario{
			Name: f.name + " a bad checksum", Args: []string{"diagnose", "--duration", "6s"}, Want: "checksum-error", Proof: "received at",
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				garbles.put(c, &atomic.Bool{})
				bad.setup(t, c, p)
			},
			Traffic: traffic,
			Fault:   func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) { garbles.get(c).Store(true) },
		}, lab.Scenario{
			Name: f.name + " a stale MAC", Args: []string{"diagnose", "--duration", "6s"}, Want: "overlay-blocked", Sure: "certain", Proof: "the frame is for 02:00:00:00:00:99",
			Setup: stale.setup, Traffic: traffic,
			Fault: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) {
				f.do(p.NS, "neigh replace "+f.sub(p, "3")+" lladdr 02:00:00:00:00:99 dev vx0")
			},
		})
	}
	lab.RunAll(t, all)
}

// garble writes a bad checksum into a tunnel's packet, but for those that are for everybody: other networks' ktrace may
// take them for their own.
func garble(b []byte) {
	const v4, v6, checksumAt, frameAt = 20, 40, 6, 16
	udp := b[map[byte]int{4: v4, 6: v6}[b[0]>>4]:]
	if toAll := udp[frameAt]&1 != 0; !toAll {
		copy(udp[checksumAt:], []byte{0xba, 0xd0})
	}
}
