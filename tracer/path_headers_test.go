// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
	"ktrace/testdata/lab"
	"ktrace/tracer/probe"
)

// TestHeadersAreReadInTheKernelAsInCaptures: the BPF programs and decoder/packet read them by the same rules.
func TestHeadersAreReadInTheKernelAsInCaptures(t *testing.T) {
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	o := pathOptions(pod.NS, "")
	o.Globals = append(o.Globals, probe.PathFilter{Hops: probe.AllProtocols, Drops: probe.UDP | probe.ICMP, Snap: 512})
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	ends := packettest.Ends{Src4: netip.MustParseAddr(pod.Addr), Dst4: netip.MustParseAddr(lab.ServerAddr),
		Src6: netip.MustParseAddr(pod.Addr6), Dst6: netip.MustParseAddr(lab.ServerAddr6)}
	for i, s := range packettest.Corpus(ends) {
		t.Run(s.Name, func(t *testing.T) {
			ttl := uint8(100 + i) // by which it is known again
			sent := s.Packet(ttl)
			pod.Do(func() { inject(t, toAll(packettest.Padded(sent))) })
			got := awaitTTL(t, tr, ttl)
			want := packet.ParseIP(sent)
			if got.String() != want.String() || got.ICMPType != want.ICMPType || got.ID != want.ID || got.Fragment != want.Fragment ||
				got.More != want.More || got.Payload() != want.Payload() {
				t.Errorf("in the kernel %v, probe.ICMP %d, id %d, fragment %d, carries %d; from its bytes %v, probe.ICMP %d, id %d, fragment %d, carries %d",
					got, got.ICMPType, got.ID, got.Fragment, got.Payload(), want, want.ICMPType, want.ID, want.Fragment, want.Payload())
			}
		})
	}
}

// toAll is the frame with the destination that every device takes.
func toAll(frame []byte) []byte {
	copy(frame, slices.Repeat([]byte{0xff}, 6))
	return frame
}

// inject sends a frame from the device of the namespace that this thread is in.
func inject(t *testing.T, frame []byte) {
	t.Helper()
	device, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index}); err != nil {
		t.Fatal(err)
	}
}

// awaitTTL is the first packet of a TTL that comes.
func awaitTTL(t *testing.T, tr *Tracer, ttl uint8) *packet.Packet {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		raw, err := tr.Next(ctx)
		if err != nil {
			t.Fatalf("a packet of TTL %d: %v", ttl, err)
		}
		if e, err := event.Decode(raw); err == nil && e.Packet != nil && e.Packet.TTL == ttl {
			return e.Packet
		}
	}
}
