// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a socket of one netlink protocol, in the network namespace of the thread that dialed. It is not safe for
// concurrent use.
type Conn struct {
	fd  int
	seq uint32
	buf []byte // for a datagram; made with the first answer
}

const (
	answerWithin = 2 * time.Second // for one datagram of an answer
	atOnce       = 32 << 10        // bytes: more the kernel does not put into a datagram, unless one message is larger
	listTries    = 3               // of a table that changes while it is read
)

// Dial opens a socket of a protocol, NETLINK_ROUTE for example. It is connected to the kernel, which then refuses what
// others send to it: root of a pod's user namespace could otherwise answer in the kernel's place.
func Dial(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink %d: %w", protocol, err)
	}
	timeout := unix.NsecToTimeval(int64(answerWithin))
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1) // 4.20; without it dumps are not filtered
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = nil
	}
	err = errors.Join(err,
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink %d: %w", protocol, err), unix.Close(fd))
	}
	return &Conn{fd: fd}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Ask sends a request and hands every message of the answer to each, which may be nil. The answer to NLM_F_DUMP is many
// messages, that to NLM_F_ACK none or an error, any other is one. An errno in the answer is returned as a unix.Errno;
// EINTR says that what was dumped changed meanwhile. An error of each ends the reading and is returned; a dump that it ends may
// keep the socket from another (EBUSY).
func (c *Conn) Ask(kind, flags uint16, body []byte, each func(Message) error) error {
	c.seq++
	if err := unix.Send(c.fd, request(kind, unix.NLM_F_REQUEST|flags, c.seq, body), 0); err != nil {
		return fmt.Errorf("netlink: send: %w", err)
	}
	a := answer{seq: c.seq, many: flags&(unix.NLM_F_DUMP|unix.NLM_F_ACK) != 0}
	for !a.done {
		n, err := c.receive()
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("netlink: receive: %w", os.NewSyscallError("recvfrom", err))
		}
		if err := a.take(c.buf[:n], each); err != nil {
			return err
		}
	}
	if a.changed {
		return unix.EINTR
	}
	return nil
}

// receive waits for a datagram and returns its size. The buffer grows with what comes: many namespaces are asked many things,
// and few answers are large.
func (c *Conn) receive() (n int, err error) {
	n, _, err = unix.Recvfrom(c.fd, nil, unix.MSG_PEEK|unix.MSG_TRUNC)
	if err != nil {
		return 0, err
	}
	if len(c.buf) < n || c.buf == nil {
		c.buf = make([]byte, max(n, atOnce))
	}
	n, _, err = unix.Recvfrom(c.fd, c.buf, 0)
	return n, err
}

// List returns copies of all rows of a table. One that changes while it is read is read again, and at last taken as it
// is: a row may then be missing.
func (c *Conn) List(kind uint16, body []byte) (rows []Message, err error) {
	for range listTries {
		rows = nil
		err = c.Ask(kind, unix.NLM_F_DUMP, body, func(m Message) error {
			rows = append(rows, Message{Kind: m.Kind, Payload: append([]byte(nil), m.Payload...)})
			return nil
		})
		if !errors.Is(err, unix.EINTR) {
			return rows, err
		}
	}
	return rows, nil
}

// request is struct nlmsghdr and what follows it.
func request(kind, flags uint16, seq uint32, body []byte) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return append(b, body...)
}
