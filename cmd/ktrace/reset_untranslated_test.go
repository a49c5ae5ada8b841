package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// astray has the third segment with data come with a sequence number far outside the window, so that conntrack does not take
// it for the connection's.
func astray() func([]byte) (bool, []byte) {
	var segments atomic.Int32
	return func(packet []byte) (bool, []byte) {
		addr, size, head := 4, 12, 20
		if packet[0]>>4 == 6 {
			addr, size, head = 16, 8, 40
		}
		if len(packet) < head+20 {
			return true, nil
		}
		tcp := packet[head:]
		if len(tcp) > int(tcp[12]>>4)*4 && segments.Add(1) == 3 {
			binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+300_000_000)
			tcp[16], tcp[17] = 0, 0
			binary.BigEndian.PutUint16(tcp[16:], checksum(unix.IPPROTO_TCP, packet[size:size+addr], packet[size+addr:size+2*addr], tcp))
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
		defer c.Close()
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
