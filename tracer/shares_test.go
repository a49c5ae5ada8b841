// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

// connecting is a script that begins so many connections, and keeps them.
func connecting(n int) string {
	return fmt.Sprintf(`exec python3 -c '
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
for i in range(%d):
	s = socket.socket()
	s.setblocking(False)
	s.connect_ex(("127.0.0.%%d" %% (1 + i %% 200), 1))
	held.append(s)
print("held", flush=True)
input()
held = None
print("closed", flush=True)
input()'`, n)
}

// TestAttackManySocketsOfOnePod: who opens sockets that nobody needs loses what is known of its own, not of another's that was
// there before, nor of one that comes later; and it is counted whose are not known.
func TestAttackManySocketsOfOnePod(t *testing.T) {
	tr, err := Open(Options{Probes: []string{probe.Flow}}) // the sock object would send a record a connection, and more than the ring takes
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	ns := lab.New(t).Namespace("calm")
	ns.IP("link add d0 type veth peer name d1", "addr add 10.0.0.1/24 dev d0", "link set d0 up", "link set d1 up",
		"neigh add 10.0.0.8 lladdr 02:00:00:00:00:08 dev d0", "neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev d0")
	connect := func(host byte) {
		ns.Do(func() {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { unix.Close(s) })
			if err := unix.Connect(s, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 0, 0, host}}); !errors.Is(err, unix.EINPROGRESS) {
				t.Error(err)
			}
		})
	}
	connect(8) // nothing answers there
	const each, room = 9000, 16384
	var attackers []*lab.Attacker
	var whose []uint64
	for range 2 {
		a := lab.NewAttacker(t, connecting(each))
		attackers, whose = append(attackers, a), append(whose, inodeOf(t, a))
	}
	for _, a := range attackers {
		if said := a.Await(); said != "held" {
			t.Fatal(said)
		}
	}
	connect(9)
	time.Sleep(1500 * time.Millisecond) // after 1 s SYNs are sent again
	// Of two at once either may have taken half before the other began, which gets half of what is left.
	if held := heldOf(t, tr, whose); max(held[0], held[1]) > room/2 || held[0]+held[1] > room*3/4+2 || held[0]+held[1] < room/2 {
		t.Errorf("the attackers hold %d entries of %d", held, room)
	}
	for _, a := range attackers {
		a.Continue()
		a.Await()
	}
	if held := heldOf(t, tr, whose); held[0] != 0 || held[1] != 0 {
		t.Errorf("the attackers, whose sockets are closed, hold %d entries", held)
	}
	events, counts := drain(t, tr)
	known := map[string]bool{}
	for _, e := range events {
		if f, ok := e.Body.(event.Flow); ok && f.State == event.FlowConnecting && e.Netns == ns.Inode() {
			known[f.Server.String()] = int(e.PID) == os.Getpid() && f.Took > 0
		}
	}
	if !known["10.0.0.8:80"] || !known["10.0.0.9:80"] {
		t.Errorf("whose process is known, of those that are sent again: %v", known)
	}
	for i, w := range whose {
		n := uint64(0)
		for _, r := range counts.Refused {
			if r.Table == event.SharedOwners && r.Owner == w {
				n = r.Count
			}
		}
		if n < each/20 || n > each {
			t.Errorf("attacker %d is said to have been refused %d entries, of %d", i, n, each)
		}
	}
}

func inodeOf(t *testing.T, a *lab.Attacker) uint64 {
	t.Helper()
	for {
		info, err := os.Stat(a.Netns())
		own, ownErr := os.Stat("/proc/self/ns/net")
		if err := errors.Join(err, ownErr); err != nil {
			t.Fatal(err)
		}
		if inode := info.Sys().(*syscall.Stat_t).Ino; inode != own.Sys().(*syscall.Stat_t).Ino {
			return inode
		}
		time.Sleep(time.Millisecond) // until it has its own
	}
}

// heldOf is how many sockets' processes are remembered of owners.
func heldOf(t *testing.T, tr *Tracer, owners []uint64) (held []int64) {
	t.Helper()
	for _, o := range owners {
		b := make([]byte, shareSize)
		if _, err := tr.shares.ReadAt(b, int64(o%shareSlots)*shareSize); err != nil {
			t.Fatal(err)
		}
		held = append(held, int64(binary.NativeEndian.Uint64(b[16:])))
	}
	return held
}

// TestSharesAreGivenBack counts what is held of sockets that connect, listen and are accepted, while there are and after.
func TestSharesAreGivenBack(t *testing.T) {
	tr, err := Open(Options{Probes: []string{probe.Flow, probe.Sock}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	ns := lab.New(t).Namespace("own")
	ns.IP("link set lo up")
	const dialed = 20
	held := func(table int) int64 {
		b := make([]byte, shareSize)
		if _, err := tr.shares.ReadAt(b, int64(table*(shareSlots+1)+int(ns.Inode()%shareSlots))*shareSize); err != nil {
			t.Fatal(err)
		}
		return int64(binary.NativeEndian.Uint64(b[16:]))
	}
	ns.Do(func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Error(err)
			return
		}
		var open []io.Closer
		for range dialed {
			c, err := net.Dial("tcp", l.Addr().String())
			s, acceptErr := l.Accept()
			if err := errors.Join(err, acceptErr); err != nil {
				t.Error(err)
				return
			}
			open = append(open, c, s)
		}
		if owners, established := held(0), held(1); owners != dialed+1 || established != 2*dialed {
			t.Errorf("%d processes and %d times are remembered, of %d connections and a listener", owners, established, dialed)
		}
		for _, c := range append(open, l) {
			c.Close()
		}
	})
	for end := time.Now().Add(5 * time.Second); held(0) != 0 || held(1) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d processes and %d times are remembered of sockets that are gone", held(0), held(1))
		}
	}
}
