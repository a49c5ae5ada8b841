package tc

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sizeofTcmsg is struct tcmsg of linux/rtnetlink.h.
const sizeofTcmsg = 20

// attributes is a message under construction.
type attributes []byte

// attribute appends struct rtattr and the value, padded to 4 bytes.
func (a attributes) attribute(kind uint16, value []byte) attributes {
	a = binary.NativeEndian.AppendUint16(a, uint16(unix.SizeofRtAttr+len(value)))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, value...)
	for len(a)%unix.NLA_ALIGNTO != 0 {
		a = append(a, 0)
	}
	return a
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func text(s string) []byte { return append([]byte(s), 0) }

// rtnetlink is a conversation with the kernel about the network namespace in which it was begun.
type rtnetlink struct {
	file     *os.File
	sequence uint32
	answer   []byte
}

func dial() (*rtnetlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	return &rtnetlink{file: os.NewFile(uintptr(fd), "rtnetlink"), answer: make([]byte, 1<<16)}, nil
}

func (r *rtnetlink) close() error { return r.file.Close() }

// ask sends a request and returns the kernel's error, nil if it was done.
func (r *rtnetlink) ask(kind, flags uint16, m attributes) error {
	_, err := r.talk(kind, flags|unix.NLM_F_ACK, m)
	return err
}

// dump asks for a table and returns its rows.
func (r *rtnetlink) dump(kind uint16, m attributes) ([]syscall.NetlinkMessage, error) {
	return r.talk(kind, unix.NLM_F_DUMP, m)
}

func (r *rtnetlink) talk(kind, flags uint16, m attributes) ([]syscall.NetlinkMessage, error) {
	r.sequence++
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(m)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, r.sequence)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, m...)
	fd := int(r.file.Fd())
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var rows []syscall.NetlinkMessage
	for {
		n, _, err := unix.Recvfrom(fd, r.answer, 0)
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(append([]byte(nil), r.answer[:n]...))
		if err != nil {
			return nil, err
		}
		for _, row := range messages {
			switch {
			case row.Header.Seq != r.sequence:
			case row.Header.Type == unix.NLMSG_DONE || row.Header.Type == unix.NLMSG_ERROR:
				return rows, verdict(row.Data)
			default:
				rows = append(rows, row)
			}
		}
	}
}

// verdict reads what ends an answer: an errno, negative, or 0.
func verdict(data []byte) error {
	if len(data) < 4 {
		return nil
	}
	if errno := int32(binary.NativeEndian.Uint32(data)); errno < 0 {
		return unix.Errno(-errno)
	}
	return nil
}

// listed is a filter as the kernel describes it.
type listed struct {
	ifindex    int32
	handle     uint32
	parent     uint32
	preference uint16
	program    uint32 // id; 0 if it is no BPF program
}

// parseListed reads a row of RTM_GETTFILTER; false if it is a preference without a filter.
func parseListed(m syscall.NetlinkMessage) (listed, bool) {
	d := m.Data
	if m.Header.Type != unix.RTM_NEWTFILTER || len(d) < sizeofTcmsg {
		return listed{}, false
	}
	l := listed{
		ifindex:    int32(binary.NativeEndian.Uint32(d[4:])),
		handle:     binary.NativeEndian.Uint32(d[8:]),
		parent:     binary.NativeEndian.Uint32(d[12:]),
		preference: uint16(binary.NativeEndian.Uint32(d[16:]) >> 16),
	}
	if id := find(find(d[sizeofTcmsg:], unix.TCA_OPTIONS), bpfID); len(id) == 4 {
		l.program = binary.NativeEndian.Uint32(id)
	}
	return l, l.handle != 0
}

// find returns the value of the first attribute of a kind, nil if there is none.
func find(b []byte, kind uint16) []byte {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED == kind {
			return b[unix.SizeofRtAttr:size]
		}
		b = b[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
	}
	return nil
}
