// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"net/netip"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Tracker follows handshakes and reports those that a side ended. It takes the segments as sockets report them, or whole ones of
// a capture. What ktrace itself asked servers for is none of them.
type Tracker struct {
	all   *bounded.Table[key, *handshake]
	own   bounded.Map[ownKey, bool]
	swept time.Time
}

// Refusal is a handshake that a side ended. From TLS 1.3 on the certificates are encrypted, and so is the alert of most
// clients; that it is one shows in its length, where a client that goes on sends more.
type Refusal struct {
	Client, Server netip.AddrPort
	Guessed        bool     // which is which: the beginning was not seen
	Name           string   // that the client asked for
	Chain          [][]byte // of the server, in DER; nil if it is not known
	ClientChain    [][]byte // that the client offered
	ByServer       bool
	Alert          *Alert // nil if it was encrypted
}

// Agreement is a handshake from which both sides go on.
type Agreement struct {
	Client, Server netip.AddrPort
	Name           string // that the client asked for
}

// key is a connection, whichever way a packet goes.
type key struct {
	low, high netip.AddrPort
	netns     uint32 // of the socket; 0 of captured packets, which pass many
}

// ownKey is a connection that ktrace made.
type ownKey struct {
	server netip.AddrPort
	netns  uint32
	port   uint16
}

// handshake is what is known of one. It is followed until it is encrypted.
type handshake struct {
	Refusal
	hello   bool
	agreed  bool       // that was reported
	streams [2]Stream  // from the low end, and from the high
	hidden  [2]*Record // the first that is encrypted
	after   [2]bool    // more was said since both are encrypted
	goodbye [2]bool    // and that was as long as an alert
	last    time.Time
}

const (
	maxHandshakes = 1 << 11          // of all clients: who begins too many loses its own
	rest          = 30 * time.Second // without a segment
	// hiddenAlert is an alert of 2 bytes, its type and the sum that TLS 1.3 adds (RFC 8446, 5.2), 16 bytes with all
	// ciphers that are in use. A client that goes on sends 53 bytes at least.
	hiddenAlert = 19
)

// NewTracker returns a Tracker that knows of no handshake.
func NewTracker() *Tracker { return &Tracker{all: bounded.NewTable[key, *handshake](maxHandshakes)} }

// Evicted is how many handshakes were forgotten to make room.
func (t *Tracker) Evicted() uint64 { return t.all.Evicted() }

// Observe takes an event, and returns the handshake that it ends, or that is done with it; nil for none.
func (t *Tracker) Observe(e event.Event) (*Refusal, *Agreement) {
	switch b := e.Body.(type) {
	case event.Fact:
		if s := b.Certificates; s != nil {
			t.own.Put(ownKey{s.Server, s.Netns, s.Port}, true)
		}
	case event.Handshake:
		return t.segment(e, e.Netns)
	case event.Hop:
		if e.Packet == nil || e.Packet.Proto != "tcp" {
			return nil, nil
		}
		netns := e.Netns
		if b.Captured {
			netns = 0
		}
		if e.Packet.HasFlag('S') { // another connection of these ends
			k, _ := keyOf(e.Packet, netns)
			t.all.Delete(k)
		} else if b.Captured && e.Packet.Payload() > 0 {
			return t.segment(e, netns)
		}
	}
	return nil, nil
}

// keyOf is the connection of a packet, and which of its ends sent it.
func keyOf(p *packet.Packet, netns uint32) (k key, way int) {
	k = key{p.Source(), p.Destination(), netns}
	if k.low.Compare(k.high) > 0 {
		k.low, k.high, way = k.high, k.low, 1
	}
	return k, way
}

// ownerOf is on whose account a handshake is that a packet begins: the namespace's of the socket, or else the client's.
func ownerOf(p *packet.Packet, netns uint32) bounded.Owner {
	if netns != 0 {
		return bounded.Owner{Netns: netns}
	}
	return bounded.Owner{Addr: p.Src}
}

// segment takes in a segment with data.
func (t *Tracker) segment(e event.Event, netns uint32) (*Refusal, *Agreement) {
	data := e.Packet.Transport()
	k, way := keyOf(e.Packet, netns)
	h, known := t.all.Get(k)
	if !known {
		if !Begins(data) {
			return nil, nil
		}
		h = &handshake{}
		t.all.Put(ownerOf(e.Packet, netns), k, h, 1)
	}
	s, ok := e.Packet.Segment()
	if !ok {
		return nil, nil
	}
	h.last = e.Time
	payload := data[:min(len(data), int(e.Packet.Payload()))]
	if own, _ := t.own.Get(ownKey{h.Server, netns, h.Client.Port()}); !own && h.refusedAfter(e.Packet, payload, way) {
		r := h.Refusal
		return &r, nil
	}
	m := h.streams[way].Add(s.Seq, payload, len(payload) == int(e.Packet.Payload()))
	h.take(e.Packet, m, way)
	ended := h.ended(e.Packet, m, way)
	if own, _ := t.own.Get(ownKey{h.Server, netns, h.Client.Port()}); own {
		return nil, nil
	}
	switch {
	case ended:
		r := h.Refusal
		return &r, nil
	case h.agrees():
		return nil, &Agreement{h.Client, h.Server, h.Name}
	}
	return nil, nil
}

// take keeps the messages of a segment.
func (h *handshake) take(p *packet.Packet, m Messages, way int) {
	if m.Hello && !h.hello {
		h.hello, h.Client, h.Server, h.Name = true, p.Source(), p.Destination(), m.ServerName
	}
	switch {
	case m.Chain == nil:
	case h.hello && p.Source() == h.Client:
		h.ClientChain = m.Chain
	case h.Chain == nil:
		h.Chain = m.Chain
	}
	if m.Hidden != nil {
		h.hidden[way] = m.Hidden
	}
}

// ended reports whether the segment's sender ended the handshake by it.
func (h *handshake) ended(p *packet.Packet, m Messages, way int) bool {
	switch {
	case m.Alert != nil:
		h.Alert = m.Alert
	case m.Hidden != nil && h.hello && p.Source() == h.Client:
		there := h.hidden[1-way]
		return m.Hidden.Type == typeData && m.Hidden.Size == hiddenAlert && there != nil && there.Type == typeData
	default:
		return false
	}
	if !h.hello { // the lower port is the server's
		h.Guessed, h.Client, h.Server = true, p.Source(), p.Destination()
		if p.Sport < p.Dport {
			h.Client, h.Server = h.Server, h.Client
		}
	}
	h.ByServer = p.Source() == h.Server
	return true
}

// refusedAfter reports whether a server ends a handshake by the first that it says after the client's part of it, as it does
// if it does not take what the client showed, under TLS 1.3. Else tickets or data follow, or the client goes first.
func (h *handshake) refusedAfter(p *packet.Packet, payload []byte, way int) bool {
	if h.hidden[0] == nil || h.hidden[1] == nil || h.after[way] || !h.hello {
		return false
	}
	h.after[way] = true
	if p.Payload() != recordHeader+hiddenAlert || len(payload) < recordHeader || payload[0] != typeData {
		return false
	}
	h.goodbye[way] = true
	h.ByServer, h.Alert = p.Source() == h.Server, nil
	return h.ByServer && !h.goodbye[1-way] && !p.HasFlag('R')
}

// agrees reports, once, whether both sides went on to what is encrypted.
func (h *handshake) agrees() bool {
	if h.agreed || !h.hello || h.Alert != nil {
		return false
	}
	for _, r := range h.hidden {
		if r == nil || r.Type == typeAlert || r.Type == typeData && r.Size == hiddenAlert {
			return false
		}
	}
	h.agreed = true
	return true
}

// Flush forgets handshakes that are over.
func (t *Tracker) Flush(now time.Time) {
	if now.Sub(t.swept) < time.Second {
		return
	}
	t.swept = now
	for k, h := range t.all.All() {
		if quiet := now.Sub(h.last); h.streams[0].Over() && h.streams[1].Over() && quiet > time.Second || quiet > rest {
			t.all.Delete(k)
		}
	}
}

// Unexplained reports whether the server's certificates, which are not known, may be why.
func (r *Refusal) Unexplained() bool {
	return !r.ByServer && r.Chain == nil && (r.Alert == nil || r.Alert.OfCertificate())
}
