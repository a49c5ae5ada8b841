// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"

	"ktrace/decoder/packet/packettest"
)

// foreignTime is when captures of the tests begin.
var foreignTime = time.Unix(1_700_000_000, 0)

// foreignCertificate is one for web.example.org, which signs itself, valid in a span of the capture's time.
func foreignCertificate(from, to time.Duration) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"web.example.org"},
		NotBefore: foreignTime.Add(from), NotAfter: foreignTime.Add(to),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tapped is a connection whose writes become frames.
type tapped struct {
	net.Conn
	src, dst netip.AddrPort
	seq      uint32
	seen     *[]sent
	lock     *sync.Mutex
}

// Write implements net.Conn.
func (c *tapped) Write(b []byte) (int, error) {
	c.lock.Lock()
	const segment = 1448
	for rest := b; len(rest) > 0; {
		part := rest[:min(segment, len(rest))]
		*c.seen = append(*c.seen, sent{time.Duration(len(*c.seen)) * time.Millisecond, tcpFrame(c.src, c.dst, c.seq, packettest.PSH|packettest.ACK, part)})
		c.seq += uint32(len(part))
		rest = rest[len(part):]
	}
	c.lock.Unlock()
	return c.Conn.Write(b)
}

// tlsCapture is what a client and a server of Go say to each other, as a capture has it.
func tlsCapture(client, server *tls.Config, served tls.Certificate) []sent {
	if client.ServerName == "" {
		client.ServerName = "web.example.org"
	}
	server.Certificates = []tls.Certificate{served}
	a, b := net.Pipe()
	var seen []sent
	var lock sync.Mutex
	c := &tapped{Conn: a, src: foreignClient, dst: foreignServer, seq: 1, seen: &seen, lock: &lock}
	s := &tapped{Conn: b, src: foreignServer, dst: foreignClient, seq: 1, seen: &seen, lock: &lock}
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
	return append(seen, timeGoesBy(20*time.Second))
}
