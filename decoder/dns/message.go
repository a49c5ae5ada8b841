package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// message is what a transaction needs of a DNS message (RFC 1035, section 4).
type message struct {
	id        uint16
	response  bool
	plain     bool // a query as resolvers send it, with nothing in it that has no meaning there
	truncated bool
	rcode     string
	name      string
	qtype     string
	answers   []string
	edns      uint16 // of a query: bytes that the sender takes over UDP, 0 if it does not say: then 512
}

// maxAnswers bounds the records that are read of a message.
const maxAnswers = 32

// rcodes are the names of response codes (IANA, DNS parameters) that fit the header.
var rcodes = []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
	"NOTAUTH", "NOTZONE"}

// parse reads a query or a response with one question. A response may be cut short behind the question: then only
// the answers before the cut are known. ok is false for all else.
func parse(b []byte) (m message, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.OpCode != 0 {
		return m, false
	}
	q, err := p.Question()
	if err != nil {
		return m, false
	}
	m = message{id: h.ID, response: h.Response, truncated: h.Truncated, rcode: rcode(h.RCode), name: name(q.Name), qtype: typeName(q.Type)}
	m.plain = plain(b, q)
	if p.SkipAllQuestions() != nil {
		return m, true
	}
	if h.Response {
		m.answers = answers(&p)
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
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return 0
	}
	for range maxAnswers {
		h, err := p.AdditionalHeader()
		if err != nil {
			return 0
		}
		if h.Type == dnsmessage.TypeOPT {
			return uint16(h.Class)
		}
		if p.SkipAdditional() != nil {
			return 0
		}
	}
	return 0
}

func rcode(c dnsmessage.RCode) string {
	if int(c) < len(rcodes) {
		return rcodes[c]
	}
	return fmt.Sprintf("unknown(%#x)", uint16(c))
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

// answers are the data of the answer section, as dig +short prints them; of types not known here only the type.
func answers(p *dnsmessage.Parser) []string {
	var all []string
	for len(all) < maxAnswers {
		r, err := p.Answer()
		if err != nil {
			break
		}
		all = append(all, data(r))
	}
	return all
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
