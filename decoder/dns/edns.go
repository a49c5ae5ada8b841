// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder/event"
)

// rcodes are the names of response codes (IANA, DNS parameters). Those from 16 on take EDNS: it has the upper bits.
var rcodes = [...]string{
	"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI",
	16: "BADVERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME", 21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE",
}

func rcode(c dnsmessage.RCode) string {
	if int(c) < len(rcodes) && rcodes[c] != "" {
		return rcodes[c]
	}
	return fmt.Sprintf("unknown(%#x)", uint16(c))
}

// Bounds of what is looked at.
const (
	maxAdditional = 64
	maxErrors     = 8
	maxErrorText  = 256 // bytes
)

// findOPT moves to the record that EDNS adds to a message (RFC 6891); ok is false if there is none.
func findOPT(p *dnsmessage.Parser) (h dnsmessage.ResourceHeader, ok bool) {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return h, false
	}
	for range maxAdditional {
		h, err := p.AdditionalHeader()
		if err != nil || h.Type == dnsmessage.TypeOPT {
			return h, err == nil
		}
		if p.SkipAdditional() != nil {
			return h, false
		}
	}
	return h, false
}

// readResponseOPT reads what EDNS adds to a response: the upper bits of its code, and why it is an error (RFC 8914).
func (m *message) readResponseOPT(p *dnsmessage.Parser, low dnsmessage.RCode) {
	h, ok := findOPT(p)
	if !ok {
		return
	}
	m.rcode = rcode(h.ExtendedRCode(low))
	opt, err := p.OPTResource()
	if err != nil {
		return
	}
	const extendedError, codeSize = 15, 2
	for _, o := range opt.Options {
		if o.Code != extendedError || len(o.Data) < codeSize || len(m.errors) >= maxErrors {
			continue
		}
		text := o.Data[codeSize:min(len(o.Data), codeSize+maxErrorText)]
		m.errors = append(m.errors, event.NewDNSError(binary.BigEndian.Uint16(o.Data), strings.ToValidUTF8(strings.TrimRight(string(text), "\x00"), "\ufffd")))
	}
}
