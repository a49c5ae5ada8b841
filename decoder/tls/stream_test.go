// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"
)

// certify makes a certificate that signs itself.
func certify(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Unix(1_600_000_000, 0), NotAfter: time.Unix(1_650_000_000, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// overheard is a connection that keeps what is written to it, as segments.
type overheard struct {
	net.Conn
	segments [][]byte
}

func (o *overheard) Write(b []byte) (int, error) {
	o.segments = append(o.segments, bytes.Clone(b))
	return o.Conn.Write(b)
}

// handshakeOf is what a client and a server of Go say to each other, client's segments first.
func handshakeOf(t testing.TB, client, server *tls.Config) (fromClient, fromServer [][]byte) {
	t.Helper()
	a, b := net.Pipe()
	c, s := &overheard{Conn: a}, &overheard{Conn: b}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Server(s, server).Handshake() // may be refused
		_, _ = io.Copy(io.Discard, b)         // the client's last words
	}()
	_ = tls.Client(c, client).Handshake()
	a.Close()
	<-done
	b.Close()
	return c.segments, s.segments
}

// follow puts segments together, in pieces of a size.
func follow(segments [][]byte, piece int) (all Messages) {
	var s Stream
	seq := uint32(1<<32 - 100) // it wraps round
	for _, segment := range segments {
		for part := range slices.Chunk(segment, piece) {
			m := s.Add(seq, part, true)
			seq += uint32(len(part))
			all.Hello = all.Hello || m.Hello
			all.ServerName = max(all.ServerName, m.ServerName)
			if m.Chain != nil {
				all.Chain = m.Chain
			}
			if m.Alert != nil {
				all.Alert = m.Alert
			}
			s.Add(seq-uint32(len(part)), part, true) // again, at another device
		}
	}
	return all
}

func TestHandshakesReportNamesCertificatesAndAlerts(t *testing.T) {
	served := certify(t, "web.example.org")
	for _, c := range []struct {
		name         string
		version      uint16
		server       *tls.Config
		client       *tls.Config
		clientAlert  string
		serverAlert  string
		certificates bool
	}{
		{"TLS 1.2, the client refuses", tls.VersionTLS12, &tls.Config{}, &tls.Config{}, "fatal bad_certificate", "", true},
		{"TLS 1.2, accepted", tls.VersionTLS12, &tls.Config{}, &tls.Config{InsecureSkipVerify: true}, "", "", true},
		{"TLS 1.3, accepted", tls.VersionTLS13, &tls.Config{}, &tls.Config{InsecureSkipVerify: true}, "", "", false},
		{"the server wants another protocol", tls.VersionTLS13, &tls.Config{NextProtos: []string{"h2"}}, &tls.Config{NextProtos: []string{"smtp"}}, "", "fatal no_application_protocol", false},
		{"the server wants another version", tls.VersionTLS12, &tls.Config{MinVersion: tls.VersionTLS13}, &tls.Config{}, "", "fatal protocol_version", false},
	} {
		for _, piece := range []int{1, 100, 1 << 20} {
			c.server.Certificates, c.client.ServerName, c.client.MaxVersion = []tls.Certificate{served}, "web.example.org", c.version
			up, down := handshakeOf(t, c.client, c.server)
			client, server := follow(up, piece), follow(down, piece)
			if client.ServerName != "web.example.org" || !client.Hello {
				t.Errorf("%s in pieces of %d: name %q", c.name, piece, client.ServerName)
			}
			if got := alertText(client.Alert); got != c.clientAlert {
				t.Errorf("%s in pieces of %d: the client says %q, want %q", c.name, piece, got, c.clientAlert)
			}
			if got := alertText(server.Alert); got != c.serverAlert {
				t.Errorf("%s in pieces of %d: the server says %q, want %q", c.name, piece, got, c.serverAlert)
			}
			if got := server.Chain; c.certificates != (len(got) == 1) || c.certificates && !bytes.Equal(got[0], served.Certificate[0]) {
				t.Errorf("%s in pieces of %d: a chain of %d certificates", c.name, piece, len(got))
			}
		}
	}
}

func alertText(a *Alert) string {
	if a == nil {
		return ""
	}
	return a.String()
}

func TestAfterAGapNothingIsReported(t *testing.T) {
	var s Stream
	alert := []byte{typeAlert, 3, 3, 0, 2, 2, 40}
	s.Add(1, alert[:3], true)
	if m := s.Add(5, alert[4:], true); m.Alert != nil {
		t.Error("a gap was not noticed")
	}
	if m := s.Add(4, alert[3:4], true); m.Alert == nil || !s.Over() {
		t.Error("what came late did not close the gap")
	}
	var cut Stream
	cut.Add(1, alert[:3], false)
	if m := cut.Add(4, alert[3:], true); m.Alert != nil {
		t.Error("a segment that was not captured whole was taken for whole")
	}
}

// FuzzStream takes what may be a handshake, in two segments.
func FuzzStream(f *testing.F) {
	up, down := handshakeOf(f, &tls.Config{ServerName: "a", MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{certify(f, "a")}})
	for _, segment := range append(up, down...) {
		f.Add(segment, 10, uint32(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, at int, seq uint32) {
		at = max(0, min(at, len(data)))
		var s Stream
		s.Add(seq, data[:at], true)
		m := s.Add(seq+uint32(at), data[at:], true)
		if len(m.ServerName) > len(data) || len(slices.Concat(m.Chain...)) > len(data) || len(s.records)+len(s.handshake) > 2*len(data) {
			t.Errorf("%d bytes became %d of a name, %d of certificates", len(data), len(m.ServerName), len(slices.Concat(m.Chain...)))
		}
		if m.Alert != nil {
			_ = m.Alert.String()
		}
	})
}
