// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/netns"
)

// inquiry is one handshake.
type inquiry struct {
	handle *netns.Handle
	about  event.Certificates
	bound  chan uint16 // the port that it comes from, before it is used; 0 if there is none
}

func (i inquiry) run(ctx context.Context) event.Certificates {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	chain, port, err := i.shake(ctx)
	select {
	case i.bound <- 0: // it ended before
	default:
	}
	i.about.Chain, i.about.Port = chain, port
	if chain == nil {
		i.about.Failed = errors.Join(err, errors.New("no certificate came")).Error()
	}
	return i.about
}

// shake returns the server's chain, however the handshake ends.
func (i inquiry) shake(ctx context.Context) (chain [][]byte, port uint16, err error) {
	var conn net.Conn
	dialer := net.Dialer{Control: func(network, _ string, c syscall.RawConn) error {
		inner := c.Control(func(fd uintptr) { port, err = bind(int(fd), network) })
		i.bound <- port
		return errors.Join(inner, err)
	}}
	inner := i.handle.Do(func() error {
		conn, err = dialer.DialContext(ctx, "tcp", i.about.Server.String())
		return nil
	})
	if err = errors.Join(err, inner, i.handle.Close()); err != nil {
		return nil, port, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn = &limitedConn{Conn: conn, left: maxAnswer}
	config := &tls.Config{
		ServerName: i.about.Name, InsecureSkipVerify: true, // it is to be judged, not trusted
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			chain = raw
			return nil
		},
	}
	err = tls.Client(conn, config).HandshakeContext(ctx)
	conn.(*limitedConn).end()
	return chain, port, err
}

// maxAnswer is how many bytes are taken from a server: chains have some thousands.
const maxAnswer = 64 << 10

// errTooLong is returned by a connection from which too much came.
var errTooLong = errors.New("the server sends more than certificates")

// limitedConn is a connection from which no more than so many bytes are read.
type limitedConn struct {
	net.Conn
	left int
}

// Read implements net.Conn.
func (c *limitedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooLong
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// end reads what the server still sends, within the limit: unread data would make the kernel answer with a reset.
func (c *limitedConn) end() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
}

// bind gives a socket a port of its own, and no more room for what comes than is read.
func bind(fd int, network string) (uint16, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, maxAnswer/2); err != nil { // the kernel doubles it
		return 0, fmt.Errorf("SO_RCVBUF: %w", err)
	}
	var any unix.Sockaddr = &unix.SockaddrInet4{}
	if network == "tcp6" {
		any = &unix.SockaddrInet6{}
	}
	if err := unix.Bind(fd, any); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("getsockname: %w", err)
	}
	switch own := own.(type) {
	case *unix.SockaddrInet4:
		return uint16(own.Port), nil
	case *unix.SockaddrInet6:
		return uint16(own.Port), nil
	}
	return 0, fmt.Errorf("getsockname: a %T", own)
}
