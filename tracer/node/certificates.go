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
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	trace "ktrace/decoder/tls"
	"ktrace/tracer/netns"
)

// Certificates asks servers for their certificates, where a client ended a handshake and they were encrypted: by a
// handshake of its own, from the same network namespace, for the same name, as people do with openssl s_client. Nothing
// is sent after it. It is a decoder.Enricher, and not safe for concurrent use.
type Certificates struct {
	o       *Reader
	tracker *trace.Tracker
	asked   map[inquired]time.Time
	running int
	answers chan event.Certificates
}

// inquired is a server, and what it was asked for.
type inquired struct {
	server netip.AddrPort
	name   string
}

const (
	askAgain   = time.Minute     // the same server is asked no more often
	askFor     = 2 * time.Second // connection, handshake and end together
	maxAsking  = 4               // servers at a time
	maxServers = 1024            // remembered
)

// NewCertificates returns one that finds namespaces by the Reader.
func NewCertificates(o *Reader) *Certificates {
	return &Certificates{o: o, tracker: trace.NewTracker(), asked: map[inquired]time.Time{}, answers: make(chan event.Certificates, maxAsking)}
}

// Enrich implements decoder.Enricher.
func (w *Certificates) Enrich(e event.Event) []event.Fact {
	facts := w.answered()
	if f, ok := e.Body.(event.Fact); ok {
		w.o.finder.Learn(f)
	}
	ended, _ := w.tracker.Observe(e)
	w.tracker.Flush(e.Time)
	if ended == nil || !ended.Unexplained() || ended.Guessed || w.running == maxAsking || ended.Server.Addr().IsLinkLocalUnicast() {
		return facts
	}
	q, now := inquired{ended.Server, ended.Name}, time.Now()
	if last, ok := w.asked[q]; ok && now.Sub(last) < askAgain {
		return facts
	}
	if len(w.asked) >= maxServers {
		clear(w.asked)
	}
	w.asked[q] = now
	return append(facts, w.ask(e.Netns, q))
}

// answered takes the answers that have come.
func (w *Certificates) answered() []event.Fact {
	var facts []event.Fact
	for w.running > 0 {
		select {
		case c := <-w.answers:
			w.running--
			facts = append(facts, event.Fact{Certificates: &c})
			continue
		default:
		}
		break
	}
	return facts
}

// ask begins to ask. The fact that it returns goes before the first packet.
func (w *Certificates) ask(inode uint32, q inquired) event.Fact {
	c := event.Certificates{Netns: inode, Server: q.server, Name: q.name}
	space, err := w.o.open(inode)
	if err != nil {
		c.Failed = err.Error()
		return event.Fact{Certificates: &c}
	}
	i := inquiry{space: space, about: c, bound: make(chan uint16, 1)}
	w.running++
	go func() { w.answers <- i.run() }()
	c.Port = <-i.bound
	return event.Fact{Certificates: &c}
}

// Close waits for what was asked.
func (w *Certificates) Close() error {
	for ; w.running > 0; w.running-- {
		<-w.answers
	}
	return nil
}

// inquiry is one handshake.
type inquiry struct {
	space *netns.Space
	about event.Certificates
	bound chan uint16 // the port that it comes from, before it is used; 0 if there is none
}

func (i inquiry) run() event.Certificates {
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
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
	inner := i.space.Do(func() error {
		conn, err = dialer.DialContext(ctx, "tcp", i.about.Server.String())
		return nil
	})
	if err = errors.Join(err, inner, i.space.Close()); err != nil {
		return nil, port, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	config := &tls.Config{
		ServerName: i.about.Name, InsecureSkipVerify: true, // it is to be judged, not trusted
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			chain = raw
			return nil
		},
	}
	err = tls.Client(conn, config).HandshakeContext(ctx)
	if tcp, ok := conn.(*net.TCPConn); ok { // what the server still sends is read: unread data would make the kernel answer with a reset
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, tcp)
	}
	return chain, port, err
}

// bind gives a socket a port of its own.
func bind(fd int, network string) (uint16, error) {
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
