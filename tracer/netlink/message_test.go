// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

const seq = 7

// message is one as the kernel frames it.
func message(kind, flags uint16, seq uint32, payload []byte) []byte {
	b := request(kind, flags, seq, payload)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// number is the payload of NLMSG_ERROR and NLMSG_DONE.
func number(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

func TestAnswers(t *testing.T) {
	row := message(unix.RTM_NEWLINK, 0, seq, []byte("row"))
	done := message(unix.NLMSG_DONE, unix.NLM_F_MULTI, seq, number(0))
	errBusy := message(unix.NLMSG_ERROR, 0, seq, number(-int32(unix.EBUSY)))
	sized := func(size uint32) []byte {
		b := bytes.Clone(row)
		binary.NativeEndian.PutUint32(b, size)
		return b
	}
	for name, c := range map[string]struct {
		datagram []byte
		many     bool
		rows     int
		done     bool
		changed  bool
		err      error
	}{
		"one row is the answer":                   {row, false, 1, true, false, nil},
		"a dump goes on after a row":              {row, true, 1, false, false, nil},
		"a dump ends":                             {bytes.Join([][]byte{row, row, done}, nil), true, 2, true, false, nil},
		"nothing counts after the end":            {bytes.Join([][]byte{done, row, errBusy}, nil), true, 0, true, false, nil},
		"an error ends it":                        {errBusy, false, 0, true, false, unix.EBUSY},
		"an error of zero is the acknowledgement": {message(unix.NLMSG_ERROR, 0, seq, number(0)), true, 0, true, false, nil},
		"an error that is cut short is none":      {message(unix.NLMSG_ERROR, 0, seq, []byte{1, 2}), true, 0, true, false, nil},
		"a dump may end with an error":            {message(unix.NLMSG_DONE, 0, seq, number(-int32(unix.EBUSY))), true, 0, true, false, unix.EBUSY},
		"a table that changed meanwhile":          {append(message(unix.RTM_NEWLINK, unix.NLM_F_DUMP_INTR, seq, nil), done...), true, 1, true, true, nil},
		"another request's answer":                {message(unix.NLMSG_ERROR, 0, seq-1, number(-1)), false, 0, false, false, nil},
		"an empty datagram":                       {nil, true, 0, false, false, nil},
		"less than a header":                      {row[:unix.NLMSG_HDRLEN-1], true, 0, false, false, nil},
		"a size below the header's":               {sized(unix.NLMSG_HDRLEN - 1), true, 0, false, false, ErrMalformed},
		"a size of zero":                          {sized(0), true, 0, false, false, ErrMalformed},
		"a size beyond the datagram":              {sized(uint32(len(row) + 1)), true, 0, false, false, ErrMalformed},
		"the largest size":                        {sized(1<<32 - 1), true, 0, false, false, ErrMalformed},
		"a size that is not aligned":              {sized(unix.NLMSG_HDRLEN + 3), true, 1, false, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, rows := answer{seq: seq, many: c.many}, 0
			err := a.take(c.datagram, func(Message) error { rows++; return nil })
			if rows != c.rows || a.done != c.done || a.changed != c.changed || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%d rows, done %v, changed %v, error %v; want %d, %v, %v, %v", rows, a.done, a.changed, err, c.rows, c.done, c.changed, c.err)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	b := AppendString(nil, 1, "eth0")
	b = AppendNested(b, 2, AppendUint32(nil, 3, 4711))
	b = AppendAttr(b, 4|unix.NLA_F_NET_BYTEORDER, []byte{0x12, 0x34})
	m := AttrMap(b)
	if got := unix.ByteSliceToString(m[1]); got != "eth0" {
		t.Errorf("string %q", got)
	}
	if got := Uint32(AttrMap(m[2])[3]); got != 4711 {
		t.Errorf("number %d", got)
	}
	if got := NetUint16(m[4]); got != 0x1234 || NetUint32(m[4]) != 0 || Uint32(m[4]) != 0 {
		t.Errorf("number %#x", got)
	}
	if len(b)%unix.NLMSG_ALIGNTO != 0 {
		t.Errorf("%d bytes are not padded", len(b))
	}
	for cut := range b {
		if whole, part := len(m), len(AttrMap(b[:cut])); part > whole {
			t.Errorf("%d attributes in the first %d bytes of %d", part, cut, len(b))
		}
	}
	for kind := range Attrs(b) {
		if kind != 1 {
			t.Errorf("went on to %d", kind)
		}
		break
	}
}

// FuzzAnswer reads datagrams as a kernel never sends them. Every message must lie within its datagram.
func FuzzAnswer(f *testing.F) {
	link := append(make([]byte, unix.SizeofIfInfomsg), AppendNested(AppendString(nil, unix.IFLA_IFNAME, "eth0"), unix.IFLA_LINKINFO, AppendString(nil, 1, "veth"))...)
	f.Add(append(message(unix.RTM_NEWLINK, unix.NLM_F_MULTI, seq, link), message(unix.NLMSG_DONE, 0, seq, number(0))...), true)
	f.Add(message(unix.NLMSG_ERROR, 0, seq, number(-1<<31)), false)
	f.Fuzz(func(t *testing.T, b []byte, many bool) {
		a, bytes := answer{seq: seq, many: many}, 0
		err := a.take(b, func(m Message) error {
			bytes += unix.NLMSG_HDRLEN + len(m.Payload)
			for _, value := range Attrs(m.Payload) {
				_, _, _, _ = Uint32(value), NetUint16(value), NetUint32(value), AttrMap(value)
			}
			return nil
		})
		if bytes > len(b) {
			t.Errorf("messages of %d bytes in %d, error %v", bytes, len(b), err)
		}
	})
}
