// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder/event"
)

// message is what a transaction needs of a DNS message (RFC 1035, section 4).
type message struct {
	id        uint16
	response  bool
	plain     bool // a query as resolvers send it, with nothing in it that has no meaning there
	truncated bool
	rcode     string
	name      string // empty of a response that does not repeat the question, as qtype
	qtype     string
	answers   []string // as far as they were taken
	total     int      // records in the answer section
	noData    bool     // there is no such record: NODATA (RFC 2308, section 2.2)
	errors    []event.DNSError
	edns      uint16 // of a query: bytes that the sender takes over UDP, 0 if it does not say: then 512
}

// parse reads a query or a response. A response may be cut short behind the question: then only the answers before the
// cut are known. Servers that cannot read a query answer without its question; then name and type are empty. ok is
// false for all else.
func parse(b []byte) (m message, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.OpCode != 0 {
		return m, false
	}
	m = message{id: h.ID, response: h.Response, truncated: h.Truncated, rcode: rcode(h.RCode)}
	q, err := p.Question()
	switch {
	case errors.Is(err, dnsmessage.ErrSectionDone) && h.Response && h.RCode != dnsmessage.RCodeSuccess:
	case err != nil:
		return m, false
	default:
		m.name, m.qtype, m.plain = name(q.Name), typeName(q.Type), plain(b, q)
	}
	if p.SkipAllQuestions() != nil {
		return m, true
	}
	if h.Response {
		m.total = int(binary.BigEndian.Uint16(b[6:]))
		m.readAnswers(&p, q.Type)
		m.readResponseOPT(&p, h.RCode)
	} else {
		m.edns = udpSize(&p)
	}
	return m, true
}

// plain reports whether a query has one question, of a class that there is, and no records but those that extend it:
// OPT, TSIG, and the SOA of IXFR. Z, and the bits that answers have, are zero (RFC 1035, section 4.1.1).
func plain(b []byte, q dnsmessage.Question) bool {
	const (
		notOfQueries = 0x86cf // QR, AA, TC, RA, Z, RCODE; AD and CD may be set
		internet     = 1
		chaos        = 3
		hesiod       = 4
		any          = 255
	)
	count := func(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
	return count(2)&notOfQueries == 0 && count(4) == 1 && count(6) == 0 && count(8) <= 1 && count(10) <= 2 &&
		slices.Contains([]dnsmessage.Class{internet, chaos, hesiod, any}, q.Class)
}

// udpSize is what a query says with EDNS of the answers that it takes (RFC 6891, 6.1.2).
func udpSize(p *dnsmessage.Parser) uint16 {
	if h, ok := findOPT(p); ok {
		return uint16(h.Class)
	}
	return 0
}

// typeName is the name of a type, or TYPE and its number (RFC 3597, section 5).
func typeName(t dnsmessage.Type) string {
	if s, ok := strings.CutPrefix(t.String(), "Type"); ok {
		return s
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}

// name is without the last dot, but for the root itself.
func name(n dnsmessage.Name) string {
	s := n.String()
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}

// maxAnswers bounds the records that are read: more than a datagram that crosses the Internet has.
const maxAnswers = 1024

// readAnswers reads the data of the answer section, as dig +short prints them; of types not known here only the type.
func (m *message) readAnswers(p *dnsmessage.Parser, asked dnsmessage.Type) {
	const ixfr, axfr = 251, 252 // of a zone: all its records
	found := m.total > 0 && slices.Contains([]dnsmessage.Type{dnsmessage.TypeALL, ixfr, axfr}, asked)
	for len(m.answers) < maxAnswers {
		r, err := p.Answer()
		if err != nil {
			whole := errors.Is(err, dnsmessage.ErrSectionDone)
			m.noData = whole && !found && !m.truncated && m.rcode == rcodes[dnsmessage.RCodeSuccess] && m.name != ""
			return
		}
		m.answers = append(m.answers, data(r))
		found = found || r.Header.Type == asked
	}
}

func data(r dnsmessage.Resource) string {
	switch b := r.Body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return name(b.CNAME)
	case *dnsmessage.PTRResource:
		return name(b.PTR)
	case *dnsmessage.NSResource:
		return name(b.NS)
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", b.Pref, name(b.MX))
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, name(b.Target))
	case *dnsmessage.TXTResource:
		return fmt.Sprintf("%q", b.TXT)
	}
	return typeName(r.Header.Type)
}
