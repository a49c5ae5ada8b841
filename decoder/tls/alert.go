// SPDX-License-Identifier: Apache-2.0

package tls

import "fmt"

// Alert is why a side ends a connection, or warns.
type Alert struct {
	Fatal bool
	Code  uint8
}

// Codes of alerts that say something of a certificate (RFC 8446, 6.2).
const (
	CloseNotify        = 0
	BadCertificate     = 42
	CertificateExpired = 45
	CertificateUnknown = 46
	UnknownCA          = 48
	UserCanceled       = 90
	NoRenegotiation    = 100
)

// alerts are the names of the codes (IANA, TLS Alerts).
func alerts() map[uint8]string {
	return map[uint8]string{
		CloseNotify: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
		40: "handshake_failure", BadCertificate: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
		CertificateExpired: "certificate_expired", CertificateUnknown: "certificate_unknown", 47: "illegal_parameter",
		UnknownCA: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version",
		71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", UserCanceled: "user_canceled",
		NoRenegotiation: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
		113: "bad_certificate_status_response", 115: "unknown_psk_identity", 116: "certificate_required", 120: "no_application_protocol",
	}
}

// Known reports whether the code is one of TLS.
func (a Alert) Known() bool { return alerts()[a.Code] != "" }

// String is the alert's level and name.
func (a Alert) String() string {
	level := "warning"
	if a.Fatal {
		level = "fatal"
	}
	name := alerts()[a.Code]
	if name == "" {
		name = fmt.Sprintf("unknown(%#x)", a.Code)
	}
	return level + " " + name
}

// OfCertificate reports whether it says that a certificate does not do.
func (a Alert) OfCertificate() bool {
	return a.Code == BadCertificate || a.Code == CertificateExpired || a.Code == CertificateUnknown || a.Code == UnknownCA
}

// OfChoice reports whether it says that the two sides have nothing in common of what they may use: a version, a cipher, a
// protocol, a name. Clients offer something else then, and what scans servers asks for all that there is.
func (a Alert) OfChoice() bool {
	switch a.Code {
	case 40, 70, 71, 86, 112, 120:
		return true
	}
	return false
}

// Harmless reports whether it ends or warns of nothing that failed, or is none that TLS knows.
func (a Alert) Harmless() bool {
	return a.Code == CloseNotify || a.Code == UserCanceled || a.Code == NoRenegotiation || !a.Known()
}
