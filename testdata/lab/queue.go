// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Queue holds packets up that an NFQUEUE rule of a namespace sends to it, between two hooks of netfilter.
type Queue struct {
	ns     *NS
	fd     int
	number uint16
	held   []uint32 // ids
}

// Messages and attributes of nfnetlink_queue (linux/netfilter/nfnetlink_queue.h).
const (
	queuePacket, queueVerdict, queueConfig = 3 << 8, 3<<8 | 1, 3<<8 | 2

	queueHeader, queueVerdictHeader  = 1, 2 // of packets, of verdicts
	queueCommand, queueParams        = 1, 2
	queueBind, queueCopyHeaders      = 1, 1
	queueDrop, queueAccept           = 0, 1
	netlinkHeader, netfilterHeader   = unix.SizeofNlMsghdr, 4
	queueVerdictSize, queueParamSize = 8, 5
)

// Queue serves the queue of that number until the test ends.
func (ns *NS) Queue(number uint16) *Queue {
	ns.t.Helper()
	q := &Queue{ns: ns, number: number}
	ns.Do(func() {
		var err error
		if q.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			ns.t.Fatal(os.NewSyscallError("socket", err))
		}
	})
	ns.t.Cleanup(func() { unix.Close(q.fd) })
	limit := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(q.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		ns.t.Fatal(err)
	}
	q.ask(queueConfig, queueCommand, []byte{queueBind, 0, 0, 0})
	params := make([]byte, queueParamSize)
	params[4] = queueCopyHeaders
	q.ask(queueConfig, queueParams, params)
	return q
}

// Await returns once n packets are held.
func (q *Queue) Await(n int) {
	q.ns.t.Helper()
	for len(q.held) < n {
		for _, m := range q.receive() {
			q.hold(m)
		}
	}
}

// Release lets the packets that are held go on, first come first served, and returns when they have.
func (q *Queue) Release() {
	q.ns.t.Helper()
	q.decide(queueAccept)
}

// Drop drops the packets that are held.
func (q *Queue) Drop() {
	q.ns.t.Helper()
	q.decide(queueDrop)
}

func (q *Queue) decide(what uint32) {
	q.ns.t.Helper()
	for _, id := range q.held {
		verdict := binary.BigEndian.AppendUint32(nil, what)
		q.ask(queueVerdict, queueVerdictHeader, binary.BigEndian.AppendUint32(verdict, id))
	}
	q.held = nil
}

// InsertFailed is how many packets conntrack dropped since another packet's entry was there first, as it counts them.
// Kernels until 6.1 at least look for that entry when a queue lets a packet go, and have the two share it: there, what
// a queue held up does not race.
func (ns *NS) InsertFailed() int {
	ns.t.Helper()
	total := 0
	for word := range strings.FieldsSeq(ns.Run("conntrack", "-S")) {
		if n, ok := strings.CutPrefix(word, "insert_failed="); ok {
			count, err := strconv.Atoi(n)
			if err != nil {
				ns.t.Fatal(err)
			}
			total += count
		}
	}
	return total
}

// hold takes the id of a packet out of its message.
func (q *Queue) hold(m message) {
	if m.kind != queuePacket {
		return
	}
	for attrs := m.body[netfilterHeader:]; len(attrs) >= 8; {
		size, kind := int(binary.NativeEndian.Uint16(attrs)), binary.NativeEndian.Uint16(attrs[2:])
		if kind == queueHeader {
			q.held = append(q.held, binary.BigEndian.Uint32(attrs[4:]))
			return
		}
		attrs = attrs[min(len(attrs), (size+3)&^3):]
	}
}

// ask sends a request and waits until it is granted.
func (q *Queue) ask(kind, attr uint16, value []byte) {
	q.ns.t.Helper()
	q.send(kind, unix.NLM_F_ACK, attr, value)
	for {
		for _, m := range q.receive() {
			q.hold(m)
			if m.kind != unix.NLMSG_ERROR {
				continue
			}
			if errno := -int32(binary.NativeEndian.Uint32(m.body)); errno != 0 {
				q.ns.t.Fatal(fmt.Errorf("queue %d: %w", q.number, unix.Errno(errno)))
			}
			return
		}
	}
}

func (q *Queue) send(kind, flags, attr uint16, value []byte) {
	q.ns.t.Helper()
	size := netlinkHeader + netfilterHeader + 4 + (len(value)+3)&^3
	m := binary.NativeEndian.AppendUint32(nil, uint32(size))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|flags)
	m = append(m, make([]byte, 8)...) // sequence, port
	m = binary.BigEndian.AppendUint16(append(m, unix.AF_UNSPEC, 0), q.number)
	m = binary.NativeEndian.AppendUint16(m, uint16(4+len(value)))
	m = binary.NativeEndian.AppendUint16(m, attr)
	m = append(append(m, value...), make([]byte, (4-len(value)%4)%4)...)
	if err := unix.Sendto(q.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		q.ns.t.Fatal(os.NewSyscallError("sendto", err))
	}
}

// message is one of netlink's: its type and what follows the header.
type message struct {
	kind uint16
	body []byte
}

func (q *Queue) receive() []message {
	q.ns.t.Helper()
	buf := make([]byte, 64<<10)
	n, _, err := unix.Recvfrom(q.fd, buf, 0)
	for errors.Is(err, unix.EINTR) { // goroutines are interrupted for others to run
		n, _, err = unix.Recvfrom(q.fd, buf, 0)
	}
	if err != nil {
		q.ns.t.Fatalf("queue %d, %d packets held: %v", q.number, len(q.held), err)
	}
	var all []message
	for buf = buf[:n]; len(buf) >= netlinkHeader+netfilterHeader; {
		size := int(binary.NativeEndian.Uint32(buf))
		if size < netlinkHeader+netfilterHeader || size > len(buf) {
			break
		}
		all = append(all, message{binary.NativeEndian.Uint16(buf[4:]), buf[netlinkHeader:size]})
		buf = buf[min(len(buf), (size+3)&^3):]
	}
	return all
}
