package diagnose

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/tls"
)

// TLS is the rule for handshakes that a side refuses in the clear. It wants whole TCP segments, as captures have them.
// From TLS 1.3 on only what the server refuses at once is in the clear: no version, cipher or name that suits it.
type TLS struct {
	handshakes map[tlsEnds]*handshake
	swept      time.Time
}

// tlsEnds are those of a connection, whichever way a packet goes.
type tlsEnds struct{ low, high netip.AddrPort }

// handshake is what is known of one. It is followed until it is encrypted.
type handshake struct {
	client, server netip.AddrPort // valid iff hello
	hello          bool
	name           string // that the client asked for
	leaf           *x509.Certificate
	streams        [2]tls.Stream // from the low end, and from the high
	last           time.Time
}

const (
	maxHandshakes = 1 << 11
	handshakeRest = 30 * time.Second // without a segment
)

// NewTLS returns the rule.
func NewTLS() *TLS { return &TLS{handshakes: map[tlsEnds]*handshake{}} }

// Observe implements decoder.Rule.
func (r *TLS) Observe(e decoder.Event) []decoder.Finding {
	if _, ok := e.Body.(decoder.Hop); !ok || e.Packet == nil || e.Packet.Proto != "tcp" {
		return nil
	}
	begins := e.Packet.HasFlag('S')
	if e.Packet.Payload() == 0 && !begins {
		return nil
	}
	data := e.Packet.Transport()
	key, way := tlsEnds{e.Packet.Source(), e.Packet.Destination()}, 0
	if key.low.Compare(key.high) > 0 {
		key, way = tlsEnds{key.high, key.low}, 1
	}
	if begins {
		delete(r.handshakes, key) // another connection of these ends
		return nil
	}
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
		return h.refused(e, *m.Alert)
	}
	return nil
}

// take keeps what a segment told.
func (h *handshake) take(p *decoder.Packet, m tls.Messages) {
	if m.Hello && !h.hello {
		h.hello, h.client, h.server, h.name = true, p.Source(), p.Destination(), m.ServerName
	}
	if m.Certificate != nil && h.leaf == nil {
		h.leaf, _ = x509.ParseCertificate(m.Certificate) // nil if it cannot be read: then only the alert is told
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
func (h *handshake) refused(e decoder.Event, a tls.Alert) []decoder.Finding {
	if a.Code == tls.CloseNotify || a.Code == tls.UserCanceled || a.Code == tls.NoRenegotiation || !a.Known() {
		return nil
	}
	p := e.Packet
	f := decoder.Finding{
		ID: "tls-alert", Severity: decoder.Warning, Confidence: decoder.Certain, Time: e.Time, First: e.Time, Last: e.Time, Count: 1,
		Pod: e.Pod, Peer: e.Peer,
		Evidence: []string{fmt.Sprintf("%s TLS alert %v from %v to %v", e.Time.UTC().Format("15:04:05.000000"), a, p.Source(), p.Destination())},
	}
	server := h.server
	if !h.hello { // the capture began later: the lower port is the server's
		f.Confidence = decoder.Likely
		if server = p.Destination(); p.Sport < p.Dport {
			server = p.Source()
		}
	}
	f.Subject = server.String()
	if h.name != "" {
		f.Subject += " " + h.name
		f.Evidence = append(f.Evidence, fmt.Sprintf("the client asked for the name %q", h.name))
	}
	side, other := "server", "client"
	if p.Source() != server {
		side, other = other, side
	}
	f.Title = fmt.Sprintf("The TLS %s %v refused the handshake: %v.", side, p.Source(), a)
	f.Cause = fmt.Sprintf("The %s did not accept what the %s offered, and said so in the clear.", side, other)
	f.Remedy = []string{fmt.Sprintf("openssl s_client -connect %v%s </dev/null", server, serverNameFlag(h.name))}
	if !a.Fatal {
		f.Severity = decoder.Info
	}
	if side == "client" {
		h.certificate(a, &f)
	}
	return []decoder.Finding{f}
}

func serverNameFlag(name string) string {
	if name == "" {
		return ""
	}
	return " -servername " + quote(name)
}

// certificate says what is wrong with the server's, if that is why the client refused.
func (h *handshake) certificate(a tls.Alert, f *decoder.Finding) {
	switch a.Code {
	case tls.BadCertificate, tls.CertificateExpired, tls.CertificateUnknown, tls.UnknownCA:
	default:
		return
	}
	if c := h.leaf; c != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("certificate: subject %q, issuer %q, valid from %s to %s, names %s", c.Subject, c.Issuer,
			c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), strings.Join(names(c), " ")))
	}
	switch c := h.leaf; {
	case c != nil && f.Time.After(c.NotAfter), c == nil && a.Code == tls.CertificateExpired:
		f.ID, f.Cause = "tls-certificate-expired", "The server's certificate is past its end; the clock of the capture says so, or the client."
		f.Title = fmt.Sprintf("The certificate of %s has expired.", f.Subject)
		f.Remedy = append(f.Remedy, "renew the certificate, and have the server load it; check the clocks: timedatectl")
	case c != nil && f.Time.Before(c.NotBefore):
		f.ID, f.Cause = "tls-certificate-not-yet-valid", "The server's certificate begins later than the time of the capture."
		f.Title = fmt.Sprintf("The certificate of %s is not valid yet.", f.Subject)
		f.Remedy = append(f.Remedy, "check the clocks of the client and of whoever made the certificate: timedatectl")
	case a.Code == tls.UnknownCA:
		f.ID, f.Cause = "tls-unknown-authority", "The client does not trust who signed the server's certificate: an authority of its own that the client does not have, or an intermediate certificate that the server does not send."
		f.Title = fmt.Sprintf("The client does not know the authority behind the certificate of %s.", f.Subject)
		f.Remedy = append(f.Remedy, "give the client the authority's certificate, or the server the whole chain")
	case c != nil && h.name != "" && c.VerifyHostname(h.name) != nil:
		f.ID, f.Cause, f.Confidence = "tls-name-mismatch", "The server's certificate is for other names than the one that the client asked for.", decoder.Likely
		f.Title = fmt.Sprintf("The certificate of %s is not for that name.", f.Subject)
		f.Remedy = append(f.Remedy, "add the name to the certificate, or ask for one that it has")
	}
}

// names are those that a certificate is for.
func names(c *x509.Certificate) []string {
	all := append([]string(nil), c.DNSNames...)
	for _, a := range c.IPAddresses {
		all = append(all, a.String())
	}
	return all
}
