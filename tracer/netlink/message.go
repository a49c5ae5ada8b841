// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Message is one message of an answer.
type Message struct {
	Kind    uint16 // RTM_NEWLINK, …
	Payload []byte // what follows the header; valid until the function that it was handed to returns
}

// ErrMalformed is returned for a datagram that does not hold the messages that it announces.
var ErrMalformed = errors.New("netlink: malformed answer")

// answer is what was read so far of the answer to one request.
type answer struct {
	seq     uint32
	many    bool // it ends with NLMSG_DONE or NLMSG_ERROR, and not with the first message
	done    bool
	changed bool // the kernel says that the table changed while it was dumped
}

// take reads the messages of one datagram (netlink(7)).
func (a *answer) take(b []byte, each func(Message) error) error {
	for len(b) >= unix.NLMSG_HDRLEN && !a.done {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return fmt.Errorf("%w: a message of %d bytes in %d", ErrMalformed, size, len(b))
		}
		m := Message{Kind: binary.NativeEndian.Uint16(b[4:]), Payload: b[unix.NLMSG_HDRLEN:size]}
		flags, seq := binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:])
		b = b[min(align(size), len(b)):]
		if seq != a.seq { // the rest of an answer whose reading was ended
			continue
		}
		a.changed = a.changed || flags&unix.NLM_F_DUMP_INTR != 0
		switch m.Kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			a.done = true
			return errno(m.Payload)
		}
		a.done = !a.many
		if each == nil {
			continue
		}
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

// errno is the number that ends an answer: zero, or an errno below zero.
func errno(b []byte) error {
	if n := int32(Uint32(b)); n < 0 {
		return unix.Errno(-n)
	}
	return nil
}

func align(size int) int { return (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
