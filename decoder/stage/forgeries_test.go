// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"net/netip"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// Namespaces of a node whose pods are strangers to each other, and journeys through it.
const (
	homeNetns, victimNetns, forgerNetns, hostNetns = 1, 2, 3, 4

	itsOwn, theNodes, theServers = 10, 11, 12
)

var (
	victimEnd = netip.MustParseAddrPort("10.244.1.2:40000")
	forgerEnd = netip.MustParseAddrPort("10.244.1.66:40000")
	serverEnd = netip.MustParseAddrPort("10.9.0.2:80")
)

// forgeries is the stage after the victim's first packet reached the server.
func forgeries() *Forgeries {
	x := NewForgeries(owners{victimEnd.Addr(): victimNetns, forgerEnd.Addr(): forgerNetns})
	x.Observe(event.Event{Body: event.Fact{Node: &event.Node{Netns: homeNetns}}})
	x.Observe(seen(hostNetns, event.In, itsOwn, packettest.TCP(victimEnd, serverEnd, packettest.SYN, 100, 0, nil), event.Hop{}))
	return x
}

// owners are the namespaces of pods' addresses.
type owners map[netip.Addr]uint32

func (o owners) Owns(netns uint32, a netip.Addr, _ time.Time) bool { return o[a] == netns }

func (o owners) OwnedElsewhere(netns uint32, a netip.Addr, _ time.Time) bool {
	return o[a] != 0 && o[a] != netns
}

func seen(netns uint32, way event.Direction, journey uint64, raw []byte, body event.Body) event.Event {
	return event.Event{Header: event.Header{Time: time.Unix(1000, 0), Netns: netns, Direction: way, Journey: journey}, Packet: packet.ParseIP(raw), Body: body}
}

// made is a packet where a program sends it that wrote its headers.
func made(netns uint32, journey uint64, raw []byte) event.Event {
	return seen(netns, event.Out, journey, raw, event.Hop{Handmade: true, SocketNetns: netns})
}

// TestWhoMaySayWhat: an error, a reset or an answer is believed of who hears what it is about, and of the node's own programs.
func TestWhoMaySayWhat(t *testing.T) {
	t.Parallel()
	about := packettest.TCP(victimEnd, serverEnd, packettest.SYN, 100, 0, nil)
	unreachable := packettest.ICMPError(forgerEnd.Addr(), 3, 1, 0, about)
	reset := packettest.TCP(serverEnd, victimEnd, packettest.RST|packettest.ACK, 0, 101, nil)
	for what, raw := range map[string][]byte{"an error": unreachable, "a reset": reset, "an answer": packettest.UDP(serverEnd, victimEnd, []byte("x"))} {
		for who, believed := range map[uint32]bool{forgerNetns: false, hostNetns: true, homeNetns: true} {
			x := forgeries()
			if passes := len(x.Observe(made(who, 20, raw))) == 1; passes != believed {
				t.Errorf("%s from namespace %d: %v", what, who, passes)
			}
			later := seen(victimNetns, event.In, 20, raw, event.Hop{Handmade: true, SocketNetns: who})
			if passes := len(x.Observe(later)) == 1; passes != believed {
				t.Errorf("%s from namespace %d, where it arrives: %v", what, who, passes)
			}
		}
		if len(forgeries().Observe(seen(hostNetns, event.Out, 21, raw, event.Hop{SocketNetns: hostNetns}))) != 1 {
			t.Errorf("%s that a kernel made does not pass", what)
		}
	}
	if len(forgeries().Observe(made(forgerNetns, 22, packettest.TCP(forgerEnd, serverEnd, packettest.SYN, 1, 0, nil)))) != 1 {
		t.Error("a scan from its own address does not pass")
	}
	if len(forgeries().Observe(made(forgerNetns, 23, packettest.UDP(netip.MustParseAddrPort("127.0.0.1:1"), victimEnd, nil)))) != 0 {
		t.Error("a packet from a loopback address passes")
	}
}

// TestWhatAnswersAForgedPacket is no word about who it names; and what answers others of the same flow is.
func TestWhatAnswersAForgedPacket(t *testing.T) {
	t.Parallel()
	x := forgeries()
	syn := packettest.TCP(victimEnd, serverEnd, packettest.SYN, 500, 0, nil)
	x.Observe(made(forgerNetns, 30, syn))
	for what, is := range map[string]struct {
		raw    []byte
		passes bool
	}{
		"a reset that answers it":         {packettest.TCP(serverEnd, victimEnd, packettest.RST|packettest.ACK, 0, 501, nil), false},
		"a SYN-ACK that answers it":       {packettest.TCP(serverEnd, victimEnd, packettest.SYN|packettest.ACK, 9, 501, nil), false},
		"a reset that answers another":    {packettest.TCP(serverEnd, victimEnd, packettest.RST|packettest.ACK, 0, 101, nil), true},
		"an error about it":               {packettest.ICMPError(serverEnd.Addr(), 3, 13, 0, syn), false},
		"an error about another":          {packettest.ICMPError(serverEnd.Addr(), 3, 13, 0, packettest.TCP(victimEnd, serverEnd, packettest.SYN, 100, 0, nil)), true},
		"a reset to another of its ports": {packettest.TCP(serverEnd, netip.AddrPortFrom(victimEnd.Addr(), 40001), packettest.RST|packettest.ACK, 0, 501, nil), true},
	} {
		if passes := len(x.Observe(seen(hostNetns, event.Out, 0, is.raw, event.Hop{SocketNetns: hostNetns}))) == 1; passes != is.passes {
			t.Errorf("%s passes: %v", what, passes)
		}
	}
	sent := func(state string) event.Event {
		return seen(hostNetns, "", 0, packettest.TCP(serverEnd, victimEnd, packettest.RST|packettest.ACK, 0, 501, nil),
			event.Sock{Op: event.SockResetSent, State: state, Trigger: packet.ParseIP(syn)})
	}
	if len(x.Observe(sent(""))) != 0 || len(x.Observe(sent("ESTABLISHED"))) != 1 {
		t.Error("a reset is passed on, of a host that has no such connection, or is not of one that has")
	}
}

// TestWhatForgedPacketsDo: their drops are no loss, and what they did to a socket has the name of who sent them.
func TestWhatForgedPacketsDo(t *testing.T) {
	t.Parallel()
	x := forgeries()
	reset := packettest.TCP(serverEnd, victimEnd, packettest.RST, 77, 0, nil)
	x.Observe(made(forgerNetns, 40, reset))
	drop := func(journey uint64, handmade bool) event.Drop {
		return x.Observe(seen(victimNetns, "", journey, reset, event.Drop{Reason: "TCP_CSUM", Handmade: handmade}))[0].Body.(event.Drop)
	}
	if d := drop(40, true); d.Noise == "" {
		t.Error("its drop is a loss")
	}
	if d := drop(41, false); d.Noise != "" || d.ForgedBy == "" {
		t.Errorf("the drop of another packet of the flow: %+v", d)
	}
	received := seen(victimNetns, "", 0, reset, event.Sock{Op: event.SockResetReceived})
	if s := x.Observe(received)[0].Body.(event.Sock); s.ForgedBy != "a program in netns 3" {
		t.Errorf("the reset is from %q", s.ForgedBy)
	}
	received.Time = received.Time.Add(2 * forgedHold)
	if s := x.Observe(received)[0].Body.(event.Sock); s.ForgedBy != "" {
		t.Errorf("a later one is from %q", s.ForgedBy)
	}
}

// TestWhatAnswersAnAnswer to a forged packet: the host in whose name it was sent resets what it never asked for.
func TestWhatAnswersAnAnswer(t *testing.T) {
	t.Parallel()
	x := forgeries()
	x.Observe(made(forgerNetns, 50, packettest.TCP(victimEnd, serverEnd, packettest.SYN, 500, 0, nil)))
	accepts := packettest.TCP(serverEnd, victimEnd, packettest.SYN|packettest.ACK, 9, 501, nil)
	x.Observe(seen(hostNetns, event.Out, 51, accepts, event.Hop{SocketNetns: hostNetns}))
	reset := packettest.TCP(victimEnd, serverEnd, packettest.RST, 501, 0, nil)
	sent := seen(victimNetns, "", 0, reset, event.Sock{Op: event.SockResetSent, Trigger: packet.ParseIP(accepts)})
	if len(x.Observe(sent)) != 0 || len(x.Observe(seen(victimNetns, event.Out, 52, reset, event.Hop{SocketNetns: victimNetns}))) != 0 {
		t.Error("the victim's reset passes")
	}
}

// TestABorrowedAddress: a socket may have any address that its namespace gave itself. The node's proxies speak for pods rightly.
func TestABorrowedAddress(t *testing.T) {
	t.Parallel()
	syn := packettest.TCP(victimEnd, serverEnd, packettest.SYN, 500, 0, nil)
	for who, passes := range map[uint32]bool{forgerNetns: false, victimNetns: true, homeNetns: true} {
		x := forgeries()
		if got := len(x.Observe(seen(who, event.Out, 60, syn, event.Hop{SocketNetns: who}))) == 1; got != passes {
			t.Errorf("from namespace %d: passes %v", who, got)
		}
		if got := len(x.Observe(seen(hostNetns, event.In, 60, syn, event.Hop{}))) == 1; got != passes {
			t.Errorf("from namespace %d, where it arrives: passes %v", who, got)
		}
	}
	if len(forgeries().Observe(seen(homeNetns, event.Out, 61, syn, event.Hop{}))) != 1 {
		t.Error("a packet that is passed on does not pass")
	}
}

// TestAHandmadeTunnel: what pods wrap up by themselves says nothing of the tunnels between nodes.
func TestAHandmadeTunnel(t *testing.T) {
	t.Parallel()
	inner := packettest.TCP(forgerEnd, serverEnd, packettest.SYN, 1, 0, nil)
	outer := packettest.UDP(forgerEnd, netip.AddrPortFrom(serverEnd.Addr(), packet.PortVXLANLinux), append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, packettest.Frame(inner)...))
	tunnel := func(who uint32) event.Event {
		e := made(who, 70, outer)
		e.Packet.Decapsulate()
		return e
	}
	if len(forgeries().Observe(tunnel(forgerNetns))) != 0 || len(forgeries().Observe(tunnel(homeNetns))) != 1 {
		t.Error("a pod's passes, or the node's does not")
	}
}
