// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// DNSError is why a server could not answer, as it says with EDNS (extended DNS errors, RFC 8914).
type DNSError struct {
	Code uint16 `json:"info_code"`
	Name string `json:"name"`
	Text string `json:"extra_text,omitempty"` // of the server's own, bytes that are no UTF-8 replaced
}

// dnsErrors are the names of INFO-CODEs, from 0 on (IANA, Extended DNS Error Codes).
var dnsErrors = [...]string{
	"Other Error", "Unsupported DNSKEY Algorithm", "Unsupported DS Digest Type", "Stale Answer", "Forged Answer",
	"DNSSEC Indeterminate", "DNSSEC Bogus", "Signature Expired", "Signature Not Yet Valid", "DNSKEY Missing", "RRSIGs Missing",
	"No Zone Key Bit Set", "NSEC Missing", "Cached Error", "Not Ready", "Blocked", "Censored", "Filtered", "Prohibited",
	"Stale NXDOMAIN Answer", "Not Authoritative", "Not Supported", "No Reachable Authority", "Network Error", "Invalid Data",
	"Signature Expired before Valid", "Too Early", "Unsupported NSEC3 Iterations Value", "Unable to conform to policy", "Synthesized",
	"Invalid Query Type",
}

// NewDNSError names a code.
func NewDNSError(code uint16, text string) DNSError {
	name := fmt.Sprintf("unknown(%#x)", code)
	if int(code) < len(dnsErrors) {
		name = dnsErrors[code]
	}
	return DNSError{Code: code, Name: name, Text: text}
}

// String is code, name and what the server adds.
func (e DNSError) String() string {
	s := fmt.Sprintf("extended error %d (%s)", e.Code, e.Name)
	if e.Text != "" {
		s += fmt.Sprintf(" %q", e.Text)
	}
	return s
}
