// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// load is traffic from the pod to the server. Its requests are made one after another, by system calls that block: nothing of
// Go's scheduler is in what is measured.
type load struct {
	name   string
	unit   string  // of its rate
	weight float64 // of one request, in that unit
	port   uint16
	kind   int                                     // of socket
	serve  func(listening int)                     // until it is shut down
	client func(to unix.Sockaddr) (*client, error) // in the pod's namespace
}

// client makes the requests of a load.
type client struct {
	request func() error
	close   func() error
}

const (
	payload   = 64
	bulkChunk = 1 << 18
)

// patience is for one answer. A load that loses a packet goes on.
var patience = unix.Timeval{Sec: 1}

func loads() []load {
	return []load{
		{"udp", "1,000 requests/s", 1e-3, 9000, unix.SOCK_DGRAM, echoDatagrams(0), exchange(slices.Repeat([]byte{7}, payload))},
		{"dns", "1,000 queries/s", 1e-3, 53, unix.SOCK_DGRAM, echoDatagrams(responseBit), exchange(query())},
		{"connections", "1,000 connections/s", 1e-3, 9001, unix.SOCK_STREAM, accept(echoOnce), connect(false)},
		{"resets", "1,000 connections/s that end by a reset", 1e-3, 9002, unix.SOCK_STREAM, accept(echoOnce), connect(true)},
		{"bulk", "Gbit/s", bulkChunk * 8 / 1e9, 9003, unix.SOCK_STREAM, accept(discard), upload},
	}
}

// responseBit is QR in the third byte of a DNS message (RFC 1035, 4.1.1).
const responseBit = 0x80

// query is one for an address. Its echo with responseBit set is an answer that has no record.
func query() []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName("web.shop.svc.cluster.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	raw, err := m.Pack()
	if err != nil {
		panic(err) // of a constant
	}
	return raw
}

// echoDatagrams sends each datagram back, with mark set in its third byte.
func echoDatagrams(mark byte) func(int) {
	return func(fd int) {
		buf := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil || from == nil {
				return
			}
			buf[2] |= mark
			_ = unix.Sendto(fd, buf[:n], 0, from) // the client misses it
		}
	}
}

// exchange sends data over one socket, and waits for the answer.
func exchange(data []byte) func(unix.Sockaddr) (*client, error) {
	return func(to unix.Sockaddr) (*client, error) {
		fd, err := dial(unix.SOCK_DGRAM, to)
		if err != nil {
			return nil, err
		}
		buf := make([]byte, 2048)
		return &client{func() error { return roundTrip(fd, data, buf) }, func() error { return unix.Close(fd) }}, nil
	}
}

// connect makes a connection for each request. It is closed as usual, or by a reset (SO_LINGER with 0 s).
func connect(reset bool) func(unix.Sockaddr) (*client, error) {
	return func(to unix.Sockaddr) (*client, error) {
		data, buf := make([]byte, payload), make([]byte, payload)
		return &client{func() error {
			fd, err := dial(unix.SOCK_STREAM, to)
			if err != nil {
				return err
			}
			if reset {
				err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			}
			return errors.Join(err, roundTrip(fd, data, buf), unix.Close(fd))
		}, func() error { return nil }}, nil
	}
}

func upload(to unix.Sockaddr) (*client, error) {
	fd, err := dial(unix.SOCK_STREAM, to)
	if err != nil {
		return nil, err
	}
	data := make([]byte, bulkChunk)
	return &client{func() error {
		for rest := data; len(rest) > 0; {
			n, err := unix.Write(fd, rest)
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	}, func() error { return unix.Close(fd) }}, nil
}

func dial(kind int, to unix.Sockaddr) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience), unix.Connect(fd, to)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func roundTrip(fd int, data, buf []byte) error {
	if _, err := unix.Write(fd, data); err != nil {
		return err
	}
	_, err := unix.Read(fd, buf)
	return err
}

// accept serves one connection after another.
func accept(serve func(fd int, buf []byte)) func(int) {
	return func(listening int) {
		buf := make([]byte, bulkChunk)
		for {
			fd, _, err := unix.Accept4(listening, unix.SOCK_CLOEXEC)
			if errors.Is(err, unix.ECONNABORTED) {
				continue
			}
			if err != nil {
				return
			}
			serve(fd, buf)
			unix.Close(fd)
		}
	}
}

// echoOnce sends back what comes first, and waits for the client's end.
func echoOnce(fd int, buf []byte) {
	if n, err := unix.Read(fd, buf); err != nil || n == 0 {
		return
	} else if _, err := unix.Write(fd, buf[:n]); err == nil {
		discard(fd, buf)
	}
}

func discard(fd int, buf []byte) {
	for {
		if n, err := unix.Read(fd, buf); err != nil || n == 0 {
			return
		}
	}
}

// start serves the load until the test ends.
func (l *load) start(t *testing.T, n *network) {
	var fd int
	listen := func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, l.kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(l.port)}); err != nil || l.kind == unix.SOCK_DGRAM {
			return err
		}
		return unix.Listen(fd, 128)
	}
	var err error
	n.cluster.Server.Do(func() { err = listen() })
	if err != nil {
		t.Fatalf("server of %s: %v", l.name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.pinned(func() { l.serve(fd) })
	}()
	t.Cleanup(func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR) // ends the call that waits; ENOTCONN of a datagram socket
		<-ended
		unix.Close(fd)
	})
}

// rate is how fast a load ran, and how long its requests took.
type rate struct {
	perSecond float64 // in the load's unit
	p99       time.Duration
	failed    int
}

// run makes requests for d.
func (l *load) run(n *network, d time.Duration) (r rate, err error) {
	n.pod.Do(func() { l.pinned(func() { r, err = l.requests(d) }) })
	return r, err
}

func (l *load) requests(d time.Duration) (r rate, err error) {
	c, err := l.client(&unix.SockaddrInet4{Port: int(l.port), Addr: service.As4()})
	if err != nil {
		return r, err
	}
	var took []time.Duration
	began := time.Now()
	for last := began; last.Sub(began) < d; {
		if c.request() != nil {
			r.failed++
		}
		now := time.Now()
		took = append(took, now.Sub(last))
		last = now
	}
	elapsed := time.Since(began)
	slices.Sort(took)
	r.perSecond = float64(len(took)-r.failed) * l.weight / elapsed.Seconds()
	r.p99 = took[len(took)*99/100]
	return r, c.close()
}

// pinned runs f on one CPU, if the load is of datagrams: with both ends of those free to move, the scheduler alone makes the
// rate vary by a third. Connections vary the least without.
func (l *load) pinned(f func()) {
	if l.kind == unix.SOCK_DGRAM {
		var cpu, before unix.CPUSet
		cpu.Set(0)
		if unix.SchedGetaffinity(0, &before) == nil && unix.SchedSetaffinity(0, &cpu) == nil {
			defer unix.SchedSetaffinity(0, &before)
		}
	}
	f()
}
