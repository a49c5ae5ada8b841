package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// native is the order of netlink's headers. All that ktrace runs on are little endian.
var native = binary.LittleEndian

// conn is a netlink socket in the namespace of the thread that opened it.
type conn struct {
	fd  int
	seq uint32
	buf []byte
}

// answerWithin bounds how long the kernel may take for one message of an answer.
const answerWithin = 2 * time.Second

// receiveBuffer is what the kernel may put into one message of a dump, bytes. It fills as much as it is offered.
const receiveBuffer = 256 << 10

func dial(protocol int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink %d: %w", protocol, err)
	}
	timeout := unix.NsecToTimeval(int64(answerWithin))
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1), // 4.20; without it dumps are not filtered
	)
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = nil
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink %d: %w", protocol, err), unix.Close(fd))
	}
	return &conn{fd: fd, buf: make([]byte, receiveBuffer)}, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// message is one answer: its type and what follows the header. It is valid until the next is received.
type message struct {
	kind    uint16
	payload []byte
}

// ask sends a request and hands every message of the answer to each. An error in the answer is returned as its
// unix.Errno. flags may have NLM_F_DUMP. EINTR says that what was dumped changed meanwhile.
func (c *conn) ask(kind uint16, flags uint16, body []byte, each func(message) error) error {
	c.seq++
	req := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	native.PutUint32(req, uint32(unix.NLMSG_HDRLEN+len(body)))
	native.PutUint16(req[4:], kind)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST|flags)
	native.PutUint32(req[8:], c.seq)
	if err := unix.Sendto(c.fd, append(req, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: send: %w", err)
	}
	interrupted := false
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("netlink: receive: %w", os.NewSyscallError("recvfrom", err))
		}
		done, err := c.messages(c.buf[:n], flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP, &interrupted, each)
		if err != nil {
			return err
		}
		if done {
			if interrupted {
				return unix.EINTR
			}
			return nil
		}
	}
}

// messages takes one datagram apart. A dump ends with NLMSG_DONE; another answer is one message, or an error of zero.
func (c *conn) messages(b []byte, dump bool, interrupted *bool, each func(message) error) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(native.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false, fmt.Errorf("netlink: answer is cut short: %d of %d bytes", len(b), size)
		}
		m := message{kind: native.Uint16(b[4:]), payload: b[unix.NLMSG_HDRLEN:size]}
		seq, flags := native.Uint32(b[8:]), native.Uint16(b[6:])
		b = b[min((size+3)&^3, len(b)):]
		if seq != c.seq { // what is left of an answer that was given up
			continue
		}
		*interrupted = *interrupted || flags&unix.NLM_F_DUMP_INTR != 0
		switch m.kind {
		case unix.NLMSG_DONE:
			return true, answerError(m.payload)
		case unix.NLMSG_ERROR:
			return true, answerError(m.payload)
		}
		if err := each(m); err != nil {
			return false, err
		}
		done = done || !dump
	}
	return done, nil
}

// answerError is the number that ends an answer: zero, or an errno below zero.
func answerError(b []byte) error {
	if len(b) < 4 {
		return nil
	}
	if n := int32(native.Uint32(b)); n < 0 {
		return unix.Errno(-n)
	}
	return nil
}

// attr appends an attribute with its padding.
func attr(b []byte, kind uint16, data []byte) []byte {
	b = native.AppendUint16(b, uint16(4+len(data)))
	b = native.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, (4-len(data)&3)&3)...)
}

// nested appends an attribute that is made of others.
func nested(b []byte, kind uint16, inner []byte) []byte {
	return attr(b, kind|unix.NLA_F_NESTED, inner)
}

// attrs walks attributes; it stops at what is cut short.
func attrs(b []byte, each func(kind uint16, data []byte)) {
	for len(b) >= 4 {
		size := int(native.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		each(native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[4:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

func attrMap(b []byte) map[uint16][]byte {
	m := map[uint16][]byte{}
	attrs(b, func(kind uint16, data []byte) { m[kind] = data })
	return m
}

func be16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func ne32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return native.Uint32(b)
}
