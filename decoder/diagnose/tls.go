package diagnose

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/tls"
)

// TLS is the rule for handshakes that a side refuses in the clear. It wants the segments as sockets tell them, or whole
// ones of a capture. From TLS 1.3 on only what a side refuses at once is in the clear: no version, cipher or name that
// suits it, and certificates only if the client's library is OpenSSL.
type TLS struct {
	facts      *Facts
	handshakes map[tlsKey]*handshake
	swept      time.Time
}

// tlsKey is a connection, whichever way a packet goes.
type tlsKey struct {
	low, high netip.AddrPort
	netns     uint32 // of the socket; 0 of captured packets, which pass many
}

// handshake is what is known of one. It is followed until it is encrypted.
type handshake struct {
	client, server netip.AddrPort // valid iff hello
	hello          bool
	name           string // that the client asked for
	chain          []*x509.Certificate
	streams        [2]tls.Stream // from the low end, and from the high
	last           time.Time
}

const (
	maxHandshakes = 1 << 11
	handshakeRest = 30 * time.Second // without a segment
)

// NewTLS returns the rule.
func NewTLS(facts *Facts) *TLS { return &TLS{facts: facts, handshakes: map[tlsKey]*handshake{}} }

// Observe implements decoder.Rule.
func (r *TLS) Observe(e decoder.Event) []decoder.Finding {
	if e.Packet == nil || e.Packet.Proto != "tcp" {
		return nil
	}
	switch b := e.Body.(type) {
	case decoder.Handshake:
		return r.segment(e, e.Netns)
	case decoder.Hop:
		netns := e.Netns
		if b.Captured() {
			netns = 0
		}
		if e.Packet.HasFlag('S') { // another connection of these ends
			key, _ := tlsKeyOf(e.Packet, netns)
			delete(r.handshakes, key)
		} else if b.Captured() && e.Packet.Payload() > 0 {
			return r.segment(e, netns)
		}
	}
	return nil
}

// tlsKeyOf is the connection of a packet, and which of its ends sent it.
func tlsKeyOf(p *decoder.Packet, netns uint32) (key tlsKey, way int) {
	key = tlsKey{p.Source(), p.Destination(), netns}
	if key.low.Compare(key.high) > 0 {
		key.low, key.high, way = key.high, key.low, 1
	}
	return key, way
}

// segment takes in a segment with data.
func (r *TLS) segment(e decoder.Event, netns uint32) []decoder.Finding {
	data := e.Packet.Transport()
	key, way := tlsKeyOf(e.Packet, netns)
	h := r.handshakes[key]
	if h == nil {
		if !tls.Begins(data) || len(r.handshakes) >= maxHandshakes {
			return nil
		}
		h = &handshake{}
		r.handshakes[key] = h
	}
	s, ok := e.Packet.Segment()
	if !ok {
		return nil
	}
	h.last = e.Time
	payload := data[:min(len(data), int(e.Packet.Payload()))]
	m := h.streams[way].Add(s.Seq, payload, len(payload) == int(e.Packet.Payload()))
	h.take(e.Packet, m)
	if m.Alert != nil {
		return r.refused(e, h, *m.Alert)
	}
	return nil
}

// take keeps what a segment told.
func (h *handshake) take(p *decoder.Packet, m tls.Messages) {
	if m.Hello && !h.hello {
		h.hello, h.client, h.server, h.name = true, p.Source(), p.Destination(), m.ServerName
	}
	if m.Chain != nil && h.chain == nil && (!h.hello || p.Source() == h.server) {
		h.chain = parseChain(m.Chain)
	}
}

// Flush implements decoder.Rule: it forgets handshakes that are over.
func (r *TLS) Flush(now time.Time, _ bool) []decoder.Finding {
	if now.Sub(r.swept) < time.Second {
		return nil
	}
	r.swept = now
	for key, h := range r.handshakes {
		if h.streams[0].Over() && h.streams[1].Over() || now.Sub(h.last) > handshakeRest {
			delete(r.handshakes, key)
		}
	}
	return nil
}

// refused concludes from an alert.
func (r *TLS) refused(e decoder.Event, h *handshake, a tls.Alert) []decoder.Finding {
	if a.Code == tls.CloseNotify || a.Code == tls.UserCanceled || a.Code == tls.NoRenegotiation || !a.Known() {
		return nil
	}
	p := e.Packet
	sure := decoder.Certain
	if !h.hello { // the capture began later: the lower port is the server's
		sure, h.server = decoder.Likely, p.Destination()
		if p.Sport < p.Dport {
			h.server = p.Source()
		}
	}
	f := r.about(e, h)
	f.Confidence = sure
	f.Evidence = append([]string{fmt.Sprintf("%s TLS alert %v from %v to %v", e.Time.UTC().Format("15:04:05.000000"), a, p.Source(), p.Destination())}, f.Evidence...)
	side, other := "server", "client"
	if p.Source() != h.server {
		side, other = other, side
	}
	f.Title = fmt.Sprintf("The TLS %s refused the handshake with %s: %v.", side, r.named(e, h), a)
	if side == "server" {
		f.Title = fmt.Sprintf("The TLS server %s refused the handshake: %v.", r.named(e, h), a)
	}
	f.Cause = fmt.Sprintf("The %s did not accept what the %s offered, and said so in the clear.", side, other)
	if !a.Fatal {
		f.Severity = decoder.Info
	}
	if side == "client" && a.OfCertificate() {
		r.certificate(e, h, a, &f)
	}
	return []decoder.Finding{f}
}

// about begins a finding about a handshake.
func (r *TLS) about(e decoder.Event, h *handshake) decoder.Finding {
	f := decoder.Finding{
		ID: "tls-alert", Severity: decoder.Warning, Time: e.Time, First: e.Time, Last: e.Time, Count: 1,
		Pod: e.Pod, Peer: e.Peer, Subject: h.server.String(),
		Remedy: []string{fmt.Sprintf("openssl s_client -connect %v%s </dev/null", h.server, serverNameFlag(h.name))},
	}
	if h.name != "" {
		f.Subject += " " + h.name
		f.Evidence = append(f.Evidence, fmt.Sprintf("the client asked for the name %q", h.name))
	}
	return f
}

// named is what people call the server of a handshake.
func (r *TLS) named(e decoder.Event, h *handshake) string {
	text := h.server.String()
	if service, ok := r.facts.ServiceAt(e.Netns, "tcp", h.server); ok && service.Name != "" {
		text = called(service, decoder.ServiceRules{}, h.server)
	} else if pod := serverPod(e, h).String(); pod != "" {
		text = fmt.Sprintf("%s (%v)", pod, h.server)
	}
	if h.name != "" {
		text = h.name + " at " + text
	}
	return text
}

// serverPod is the end of an event that the server is: the event's pod is where the socket is.
func serverPod(e decoder.Event, h *handshake) decoder.Pod {
	if _, ok := e.Body.(decoder.Handshake); !ok {
		return decoder.Pod{}
	}
	if (e.Direction == decoder.Out) == (e.Packet.Source() == h.server) {
		return e.Pod
	}
	return e.Peer
}

func serverNameFlag(name string) string {
	if name == "" {
		return ""
	}
	return " -servername " + quote(name)
}
