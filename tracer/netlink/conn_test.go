// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func dialRoute(t testing.TB) *Conn {
	t.Helper()
	c, err := Dial(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// name is that of the device in a message of the kernel's.
func name(m Message) string {
	return unix.ByteSliceToString(AttrMap(m.Payload[unix.SizeofIfInfomsg:])[unix.IFLA_IFNAME])
}

func TestTheKernelAnswers(t *testing.T) {
	c := dialRoute(t)
	rows, err := c.List(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg))
	if err != nil || len(rows) == 0 || name(rows[0]) != "lo" {
		t.Fatalf("%d devices, error %v; want lo first", len(rows), err)
	}
	none := make([]byte, unix.SizeofIfInfomsg)
	none[7] = 0x7f // a device's number
	if err := c.Ask(unix.RTM_GETLINK, 0, none, nil); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of a device that is not there: %v", err)
	}
	if _, err := Dial(-1); err == nil {
		t.Error("there is no protocol -1")
	}
}

// TestTheRestOfAnAnswerIsPassedOver has a reader give up in a dump, and ask anew on the same socket.
func TestTheRestOfAnAnswerIsPassedOver(t *testing.T) {
	c, enough := dialRoute(t), errors.New("enough")
	link := make([]byte, unix.SizeofIfInfomsg)
	if err := c.Ask(unix.RTM_GETLINK, unix.NLM_F_DUMP, link, func(Message) error { return enough }); !errors.Is(err, enough) {
		t.Fatalf("error %v", err)
	}
	link[4] = 1 // lo
	err := c.Ask(unix.RTM_GETLINK, 0, link, func(m Message) error {
		if m.Kind != unix.RTM_NEWLINK || name(m) != "lo" {
			t.Errorf("answer %d %q", m.Kind, name(m))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOnlyTheKernelIsHeard: root of a pod's user namespace may send to sockets of the pod's network namespace.
func TestOnlyTheKernelIsHeard(t *testing.T) {
	c := dialRoute(t)
	own, err := unix.Getsockname(c.fd)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	forged := message(unix.NLMSG_ERROR, 0, c.seq+1, number(0))
	if err := unix.Sendto(fd, forged, 0, own); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("an answer that is not the kernel's: %v, want connection refused", err)
	}
}

// TestAMessageMayBeLarge: that of a device with many virtual functions is.
func TestAMessageMayBeLarge(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	large := make([]byte, 3*atOnce)
	for _, answer := range [][]byte{message(unix.RTM_NEWLINK, unix.NLM_F_MULTI, 1, large), message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, number(0))} {
		if err := unix.Send(ends[1], answer, 0); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := (&Conn{fd: ends[0]}).List(unix.RTM_GETLINK, nil)
	if err != nil || len(rows) != 1 || len(rows[0].Payload) != len(large) {
		t.Errorf("%d messages, error %v", len(rows), err)
	}
}

func BenchmarkDialAndAsk(b *testing.B) {
	b.ReportAllocs()
	lo := make([]byte, unix.SizeofIfInfomsg)
	lo[4] = 1
	for b.Loop() {
		c, err := Dial(unix.NETLINK_ROUTE)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Ask(unix.RTM_GETLINK, 0, lo, func(Message) error { return nil }); err != nil {
			b.Fatal(err)
		}
		_ = c.Close() // was only asked
	}
}
