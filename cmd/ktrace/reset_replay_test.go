package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"ktrace/cmd/internal/cli"
	"ktrace/testdata/lab"
)

func TestResetRecordingSaysWhatTheRunSaid(t *testing.T) {
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	recording := filepath.Join(t.TempDir(), "rec")
	run := lab.Ktrace(t, "reset", "--record", recording)
	dial(t, p.NS, lab.ServerAddr) // refused
	go serve(listen(t, c.Server, lab.ServerAddr6), func() func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, 4))
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	})
	conn := dial(t, p.NS, lab.ServerAddr6)
	_, _ = conn.Write([]byte("ping"))
	_, _ = io.Copy(io.Discard, conn)
	run.AwaitFinding("connection-refused")
	run.AwaitFinding("reset-by-application")
	var live bytes.Buffer
	for _, l := range run.Stop() {
		live.Write(l.Raw)
		live.WriteByte('\n')
	}

	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out, said bytes.Buffer
	if err := cli.Replay(t.Context(), cli.Flags{Output: "json"}, resetView(), cli.Streams{Out: &out, Err: &said}, f); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), live.Bytes()) {
		t.Errorf("the recording says\n%s\nthe run said\n%s", out.Bytes(), live.Bytes())
	}
}
