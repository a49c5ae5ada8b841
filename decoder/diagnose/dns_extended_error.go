// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"

	"ktrace/decoder/event"
)

// reasonCodes are INFO-CODEs of extended DNS errors (RFC 8914) that mean the same, and what a server that sends one says.
type reasonCodes struct {
	codes []uint16
	cause string
}

// policyCodes are Blocked, Censored, Filtered and Prohibited.
func policyCodes() []uint16 { return []uint16{15, 16, 17, 18} }

func dnsReasons() []reasonCodes {
	return []reasonCodes{
		{policyCodes(), "The server says that it does not answer for the name or the client by a policy: a block list, a filter or an access list of its own. " +
			"The name may exist."},
		{[]uint16{1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 25, 27}, "The server says that the answer fails DNSSEC: the zone's signatures are wrong or expired, or this server's clock or trust anchor is."},
		{[]uint16{22, 23}, "The server says that its upstream servers do not answer."},
		{[]uint16{14}, "The server says that it is not ready yet: it has just started."},
	}
}

// causeGiven is what the server says of why its answer is none; ok is false if it says nothing that is known.
func causeGiven(errors []event.DNSError) (cause string, ok bool) {
	for _, r := range dnsReasons() {
		if slices.ContainsFunc(errors, func(e event.DNSError) bool { return slices.Contains(r.codes, e.Code) }) {
			return r.cause, true
		}
	}
	return "", false
}

// byPolicy reports whether the server gives a policy as its reason.
func byPolicy(errors []event.DNSError) bool {
	return slices.ContainsFunc(errors, func(e event.DNSError) bool { return slices.Contains(policyCodes(), e.Code) })
}

// reasonsGiven returns the extended errors as evidence.
func reasonsGiven(errors []event.DNSError) (all []string) {
	for _, e := range errors {
		all = append(all, "the server gives the reason: "+e.String())
	}
	return all
}
