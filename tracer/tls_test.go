// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	record "ktrace/decoder/tls"
	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

// bigChain is a certificate, and more behind it than a segment has room for.
func bigChain(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{strings.Repeat("a-long-label.", 15) + "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: slices.Repeat([][]byte{der}, 10), PrivateKey: key}
}

// conversation connects a pod with the server's host: say sends a kilobyte so many times, and takes it back.
func conversation(t testing.TB, c *lab.Cluster, pod *lab.Pod, encrypt bool, version uint16) (say func(n int), end func()) {
	t.Helper()
	var l net.Listener
	var err error
	c.Server.Do(func() { l, err = net.Listen("tcp", lab.ServerAddr+":8443") })
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{bigChain(t)}, MaxVersion: version, InsecureSkipVerify: true, SessionTicketsDisabled: true}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if encrypt {
				conn = tls.Server(conn, config)
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	var conn net.Conn
	pod.Do(func() { conn, err = net.Dial("tcp", l.Addr().String()) })
	if err != nil {
		t.Fatal(err)
	}
	if encrypt {
		conn = tls.Client(conn, config)
	}
	return func(n int) {
			for part := make([]byte, 1024); n > 0; n-- {
				if _, err := conn.Write(part); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, part); err != nil {
					t.Fatal(err)
				}
			}
		}, func() {
			conn.Close()
			l.Close()
		}
}

// tlsOptions take the handshakes of one namespace.
func tlsOptions(ns *lab.NS) Options {
	return Options{
		Probes: []string{probe.TLS}, Globals: []probe.Globals{probe.Selection{Selecting: true}},
		Prepare: func(m probe.Maps) error { return m(probe.TLS, "sel_netns").Put(ns.Inode(), uint8(1)) },
	}
}

// TestEveryHandshakeIsReportedOnce counts what comes of one that passes two sockets and four devices, of which much is said
// after it.
func TestEveryHandshakeIsReportedOnce(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			pod := c.AddPod("a")
			o := tlsOptions(pod.NS)
			o.Prepare = func(m probe.Maps) error { // both ends
				for _, ns := range []*lab.NS{pod.NS, c.Server} {
					if err := m(probe.TLS, "sel_netns").Put(ns.Inode(), uint8(1)); err != nil {
						return err
					}
				}
				return nil
			}
			tr, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			say, end := conversation(t, c, pod, true, version)
			say(100)
			end()
			events, counts := drain(t, tr)
			var up, down record.Stream
			var chain [][]byte
			records := 0
			for _, e := range events {
				if e.Body.Kind() != event.KindHandshake {
					continue
				}
				records++
				s, ok := e.Packet.Segment()
				if !ok || e.Netns != pod.Inode() {
					t.Fatalf("a segment %+v in netns %d, want %d", e.Packet, e.Netns, pod.Inode())
				}
				stream := &up
				if e.Direction == event.In {
					stream = &down
				}
				if stream.Over() {
					t.Errorf("%d bytes more after what is in the clear", s.Bytes)
				}
				data := e.Packet.Transport()
				if m := stream.Add(s.Seq, data, len(data) == int(s.Bytes)); m.Chain != nil {
					chain = m.Chain
				}
			}
			if want := version == tls.VersionTLS12; want != (len(chain) == 10) || want && !bytes.Equal(chain[0], chain[9]) {
				t.Errorf("a chain of %d certificates", len(chain))
			}
			if records < 2 || records > 12 || counts.Seen != uint64(records) || counts.Lost.Total() != 0 {
				t.Errorf("%d records, %+v", records, counts)
			}
		})
	}
}

// TestOtherConnectionsAreNotReported: none of a pod that is not selected, and none that is not TLS.
func TestOtherConnectionsAreNotReported(t *testing.T) {
	t.Parallel()
	for name, encrypt := range map[string]bool{"plain": false, "not selected": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			pod, other := c.AddPod("a"), c.AddPod("b")
			from := pod
			if encrypt {
				from = other
			}
			tr, err := Open(tlsOptions(pod.NS))
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			say, end := conversation(t, c, from, encrypt, tls.VersionTLS12)
			say(3)
			end()
			if events, counts := drain(t, tr); counts.Seen != 0 {
				t.Errorf("%d reported: %+v", counts.Seen, events)
			}
		})
	}
}

// BenchmarkTLS has a pod and a server talk past the path and the tls objects, and reports the kernel's own time for a
// run of each program: in a connection that never was TLS, in one that is past its handshake, and in handshakes alone.
func BenchmarkTLS(b *testing.B) {
	for _, bench := range []struct {
		name    string
		encrypt bool
		before  int // is said before, that does not count
	}{{"plain", false, 64}, {"past its handshake", true, 64}, {"handshakes", true, 0}} {
		b.Run(bench.name, func(b *testing.B) {
			c := lab.NewCluster(b)
			pod := c.AddPod("a")
			o := tlsOptions(pod.NS)
			o.Probes = []string{probe.Path, probe.TLS}
			o.Variant = "tp_btf"
			o.Shared = []string{"sel_netns"}
			o.RingBytes = 128 << 20 // it is not read
			o.Globals = append(o.Globals, probe.PathFilter{Hops: probe.TCP})
			if bench.before == 0 {
				measure(b, o, func() {
					for range b.N {
						say, end := conversation(b, c, pod, true, tls.VersionTLS12)
						say(1)
						end()
					}
				}, append(hopPrograms, "tls tls_out", "tls tls_in")...)
				return
			}
			say, end := conversation(b, c, pod, bench.encrypt, tls.VersionTLS12)
			defer end()
			say(bench.before)
			measure(b, o, func() { say(b.N) }, append(hopPrograms, "tls tls_out", "tls tls_in")...)
		})
	}
}
