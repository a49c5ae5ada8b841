// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"ktrace/decoder/event"
	"ktrace/decoder/packet/packettest"
)

// segments are the events of what a client and a server say, as the client's socket reports them.
func segments(client, server netip.AddrPort, up, down [][]byte) []event.Event {
	var all []event.Event
	at := time.Unix(1_700_000_000, 0)
	add := func(src, dst netip.AddrPort, way event.Direction, said [][]byte) {
		seq := uint32(1)
		for _, data := range said {
			b := packettest.TCP(src, dst, packettest.PSH|packettest.ACK, seq, 0, data)
			e, err := event.Decode(event.RawFrame{Length: uint32(len(b)), Protocol: uint16(layers.EthernetTypeIPv4), Data: b}.Append(nil))
			if err != nil {
				panic(err)
			}
			e.Time, e.Netns, e.Direction, e.Body = at, 7, way, event.Handshake{}
			all = append(all, e)
			at, seq = at.Add(time.Millisecond), seq+uint32(len(data))
		}
	}
	add(client, server, event.Out, up[:1])
	add(server, client, event.In, down)
	add(client, server, event.Out, up) // the first comes again
	return all
}

func TestTrackerReportsWhatASideEnded(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:443")
	served := certify(t, "web.example.org")
	for _, c := range []struct {
		name           string
		version        uint16
		client, server *tls.Config
		ended          bool
		alert          string
		chain          int
	}{
		{"accepted, 1.2", tls.VersionTLS12, &tls.Config{InsecureSkipVerify: true}, &tls.Config{}, false, "", 0},
		{"accepted, 1.3", tls.VersionTLS13, &tls.Config{InsecureSkipVerify: true}, &tls.Config{}, false, "", 0},
		{"accepted, 1.3, with a certificate", tls.VersionTLS13, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{served}},
			&tls.Config{ClientAuth: tls.RequireAnyClientCert}, false, "", 0},
		{"refused, 1.2", tls.VersionTLS12, &tls.Config{}, &tls.Config{}, true, "fatal bad_certificate", 1},
		{"refused, 1.3", tls.VersionTLS13, &tls.Config{}, &tls.Config{}, true, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.Certificates, c.client.ServerName, c.client.MaxVersion = []tls.Certificate{served}, "web.example.org", c.version
			up, down := handshakeOf(t, c.client, c.server)
			tracker := NewTracker()
			var got *Refusal
			var agreed []Agreement
			for _, e := range segments(client, server, up, down) {
				r, a := tracker.Observe(e)
				if r != nil {
					got = r
				}
				if a != nil {
					agreed = append(agreed, *a)
				}
			}
			if (got != nil) != c.ended || (len(agreed) == 1) == c.ended || len(agreed) == 1 && agreed[0] != (Agreement{client, server, "web.example.org"}) {
				t.Fatalf("ended: %+v, want %v; agreed: %+v", got, c.ended, agreed)
			}
			if !c.ended {
				return
			}
			if got.Client != client || got.Server != server || got.Guessed || got.Name != "web.example.org" || got.ByServer {
				t.Errorf("got %+v", got)
			}
			if alertText(got.Alert) != c.alert || len(got.Chain) != c.chain {
				t.Errorf("alert %q, want %q; a chain of %d", alertText(got.Alert), c.alert, len(got.Chain))
			}
			if want := c.chain == 0; got.Unexplained() != want {
				t.Errorf("unexplained: %v, want %v", !want, want)
			}
		})
	}
}

func TestTrackerPassesOverWhatKtraceAsked(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:443")
	up, down := handshakeOf(t, &tls.Config{ServerName: "web.example.org"}, &tls.Config{Certificates: []tls.Certificate{certify(t, "web.example.org")}})
	for port, want := range map[uint16]bool{40000: false, 40001: true} {
		tracker := NewTracker()
		tracker.Observe(event.Event{Body: event.Fact{Certificates: &event.Certificates{Netns: 7, Server: server, Port: port}}})
		reported := false
		for _, e := range segments(client, server, up, down) {
			r, a := tracker.Observe(e)
			reported = r != nil || a != nil || reported
		}
		if reported != want {
			t.Errorf("asked from port %d: reported %v, want %v", port, reported, want)
		}
	}
}

// TestTrackerReportsWhatAServerEndsEncrypted: under TLS 1.3 the client is done before the server has seen its certificate.
func TestTrackerReportsWhatAServerEndsEncrypted(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:443")
	up, down := handshakeOf(t, &tls.Config{ServerName: "web.example.org", InsecureSkipVerify: true},
		&tls.Config{Certificates: []tls.Certificate{certify(t, "web.example.org")}, SessionTicketsDisabled: true})
	record := func(size int) []byte { return append([]byte{typeData, 3, 3, 0, byte(size)}, make([]byte, size)...) }
	alert, data := record(hiddenAlert), record(100)
	for _, c := range []struct {
		name     string
		up, down [][]byte // what follows the handshake; the client's first
		ended    bool
	}{
		{"an alert", nil, [][]byte{alert}, true},
		{"an alert after the client's request", [][]byte{data}, [][]byte{alert}, true},
		{"an answer", nil, [][]byte{data}, false},
		{"an answer, and a good-bye", nil, [][]byte{data, alert}, false},
		{"a good-bye after the client's", [][]byte{alert}, [][]byte{alert}, false},
	} {
		tracker := NewTracker()
		events := segments(client, server, up, down)
		events = append(events, segments(client, server, append(up[:len(up):len(up)], c.up...), down)[1+len(down)+len(up):]...)
		events = append(events, segments(client, server, up[:1], append(down[:len(down):len(down)], c.down...))[1+len(down):][:len(c.down)]...)
		var got *Refusal
		for _, e := range events {
			if r, _ := tracker.Observe(e); r != nil {
				got = r
			}
		}
		if (got != nil) != c.ended || got != nil && (!got.ByServer || got.Alert != nil || got.Client != client) {
			t.Errorf("%s: %+v, want it to end: %v", c.name, got, c.ended)
		}
	}
}
