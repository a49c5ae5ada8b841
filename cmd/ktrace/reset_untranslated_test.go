// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"

	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
)

// astray has the third segment with data come with a sequence number far outside the window, so that conntrack does not take
// it for the connection's.
func astray() func([]byte) (bool, []byte) {
	var segments atomic.Int32
	return func(packet []byte) (bool, []byte) {
		p, tcp := segmentOf(packet)
		if tcp != nil && len(tcp.Payload) > 0 && segments.Add(1) == 3 {
			tcp.Seq += 300_000_000
			copy(packet, packettest.Build(p.NetworkLayer().(gopacket.SerializableLayer), tcp, gopacket.Payload(tcp.Payload)))
		}
		return true, nil
	}
}

// converse exchanges several messages with the service, one after the other.
func (f stack) converse(t testing.TB, _ *lab.Cluster, p *lab.Pod) {
	p.Do(func() {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(f.service(), "80"), 10*time.Second)
		if err != nil {
			t.Error(err)
			return
		}
		defer lab.Close(c)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		for range 5 {
			if _, err := fmt.Fprintln(c, "hello"); err != nil {
				return
			}
			if _, err := io.ReadFull(c, make([]byte, len("hello\n"))); err != nil {
				return
			}
		}
	})
}

// TestAnswersThatConntrackCallsInvalid: the client gets one from an address that it never asked, and resets what it does not
// know; and where no answer passes conntrack there is never a connection.
func TestAnswersThatConntrackCallsInvalid(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for i, f := range stacks() {
		setup, broken := boxed(f, func() box { return box{everything, astray()} })
		all = append(all, lab.Scenario{
			Name: f.name + " one is outside the window", Args: [][]string{{"diagnose", "--duration", "5s"}, {"reset"}}[i],
			Setup: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				setup(t, c, p)
				f.kube(c.Node, "shop", "tcp", f.service(), net.JoinHostPort(f.far(), "80"))
			},
			Fault: broken, Traffic: f.converse, Want: "conntrack-invalid", Sure: "likely",
			Proof: "from " + net.JoinHostPort(f.far(), "80") + ", expected from " + net.JoinHostPort(f.service(), "80"),
		})
	}
	lab.RunAll(t, all)
}
