package tracer

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"ktrace/decoder"
	"ktrace/testdata/lab"
)

// oddFrame is a packet whose headers are easily misread, and the IP identification or flow label that it is known by.
type oddFrame struct {
	name   string
	layers []gopacket.SerializableLayer
}

// TestHeadersAreReadInTheKernelAsInCaptures: the BPF programs and decoder/packet read them by the same rules.
func TestHeadersAreReadInTheKernelAsInCaptures(t *testing.T) {
	c := lab.NewCluster(t)
	pod := c.AddPod("a")
	o := pathOptions(pod.NS, "")
	o.Globals["hop_protocols"], o.Globals["ports_wanted"] = uint32(0xffff), uint32(0)
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for i, f := range oddFrames(pod) {
		t.Run(f.name, func(t *testing.T) {
			ttl := uint8(100 + i) // by which it is known again
			sent := f.serialize(t, ttl)
			pod.Do(func() { inject(t, sent) })
			got := awaitTTL(t, tr, ttl)
			want := decoder.ParseIP(sent[etherSize:])
			if got.String() != want.String() || got.ICMPType != want.ICMPType || got.ID != want.ID || got.Fragment != want.Fragment ||
				got.More != want.More || got.Payload() != want.Payload() {
				t.Errorf("in the kernel %v, ICMP %d, id %d, fragment %d, carries %d; from its bytes %v, ICMP %d, id %d, fragment %d, carries %d",
					got, got.ICMPType, got.ID, got.Fragment, got.Payload(), want, want.ICMPType, want.ID, want.Fragment, want.Payload())
			}
		})
	}
}

const etherSize = 14

func oddFrames(pod *lab.Pod) []oddFrame {
	v4 := func(proto layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, Id: 77, Protocol: proto, SrcIP: net.ParseIP(pod.Addr), DstIP: net.ParseIP(lab.ServerAddr)}
	}
	v6 := func(next layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, NextHeader: next, SrcIP: net.ParseIP(pod.Addr6), DstIP: net.ParseIP(lab.ServerAddr6)}
	}
	options := v4(layers.IPProtocolUDP)
	for range 8 {
		options.Options = append(options.Options, layers.IPv4Option{OptionType: 1})
	}
	first := v4(layers.IPProtocolUDP)
	first.Flags = layers.IPv4MoreFragments
	later := v4(layers.IPProtocolUDP)
	later.FragOffset = 185
	udp, tcp := &layers.UDP{SrcPort: 4000, DstPort: 9}, &layers.TCP{SrcPort: 4000, DstPort: 9, SYN: true, Options: []layers.TCPOption{{OptionType: 1}, {OptionType: 1}}}
	data := gopacket.Payload("0123456789abcdef")
	frames := []oddFrame{
		{"options of IPv4", []gopacket.SerializableLayer{options, udp, data}},
		{"the first fragment", []gopacket.SerializableLayer{first, udp, data}},
		{"a later fragment", []gopacket.SerializableLayer{later, data}},
		{"options of TCP", []gopacket.SerializableLayer{v4(layers.IPProtocolTCP), tcp, data}},
		{"source quench", []gopacket.SerializableLayer{v4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(4, 0)}, data}},
		{"SCTP", []gopacket.SerializableLayer{v4(layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 4000, DstPort: 9}, data}},
	}
	for _, n := range []int{1, 5, 6, 8} {
		all := []gopacket.SerializableLayer{v6(layers.IPProtocolIPv6Destination)}
		for i := range n {
			next := byte(layers.IPProtocolIPv6Destination)
			if i == n-1 {
				next = byte(layers.IPProtocolUDP)
			}
			all = append(all, gopacket.Payload{next, 0, 1, 4, 0, 0, 0, 0})
		}
		frames = append(frames, oddFrame{string(rune('0'+n)) + " extension headers", append(all, udp, data)})
	}
	return frames
}

// serialize makes the frame, with a TTL by which it is known again.
func (f oddFrame) serialize(t *testing.T, ttl uint8) []byte {
	t.Helper()
	ether := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EthernetType: layers.EthernetTypeIPv4}
	switch ip := f.layers[0].(type) {
	case *layers.IPv4:
		ip.TTL = ttl
	case *layers.IPv6:
		ip.HopLimit, ether.EthernetType = ttl, layers.EthernetTypeIPv6
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, append([]gopacket.SerializableLayer{ether}, f.layers...)...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
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
func awaitTTL(t *testing.T, tr *Tracer, ttl uint8) *decoder.Packet {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		raw, err := tr.Next(ctx)
		if err != nil {
			t.Fatalf("a packet of TTL %d: %v", ttl, err)
		}
		if e, err := decoder.Decode(raw); err == nil && e.Packet != nil && e.Packet.TTL == ttl {
			return e.Packet
		}
	}
}
