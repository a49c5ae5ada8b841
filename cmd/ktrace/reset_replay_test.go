// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"path/filepath"
	"testing"

	"ktrace/testdata/lab"
)

func TestResetRecordingSaysWhatTheRunSaid(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	recording := filepath.Join(t.TempDir(), "rec")
	run := lab.Ktrace(t, "reset", "--record", recording)
	dial(t, p.NS, lab.ServerAddr) // refused
	go serve(listen(t, c.Server, lab.ServerAddr6), func() func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, 4))
			_ = conn.(*net.TCPConn).SetLinger(0)
			lab.Close(conn)
		}
	})
	conn := dial(t, p.NS, lab.ServerAddr6)
	_, _ = conn.Write([]byte("ping"))
	_, _ = io.Copy(io.Discard, conn)
	run.AwaitFinding("connection-refused")
	run.AwaitFinding("reset-by-application")
	want := text(run.Stop())
	if got := replayed(t, recording, resetView()); got != want {
		t.Errorf("the recording says\n%s\nthe run said\n%s", got, want)
	}
}
