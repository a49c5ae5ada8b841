// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"strings"
)

// UpperPDU is what a packet of LinkUpperPDU holds: something that is no packet, as a row of its own
// among the packets, for Wireshark to dissect. tcpdump cannot read it.
type UpperPDU struct {
	Dissector string // Wireshark's name of what dissects the payload, such as "json"
	Protocol  string // text of the Protocol column
	Info      string // text of the Info column, since Wireshark 4.4
	Payload   []byte
}

// Tags of the list before the payload. It is big-endian in every section.
const (
	pduEnd       = 0
	pduDissector = 12
	pduProtocol  = 33
	pduInfo      = 36
)

// pduTextMax is more than any column shows; the tags could say 65532.
const pduTextMax = 4096

// Append appends the packet to b. A text that is longer than 4096 bytes is cut.
func (u UpperPDU) Append(b []byte) []byte {
	b = appendPDUText(b, pduDissector, u.Dissector)
	b = appendPDUText(b, pduProtocol, u.Protocol)
	b = appendPDUText(b, pduInfo, u.Info)
	b = BigEndian.append32(b, pduEnd)
	return append(b, u.Payload...)
}

// appendPDUText appends a tag, the length with its padding as Wireshark writes it, and the text.
func appendPDUText(b []byte, tag uint16, text string) []byte {
	if text == "" {
		return b
	}
	text = text[:min(len(text), pduTextMax)]
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "")
	b = BigEndian.append16(BigEndian.append16(b, tag), uint16(align(len(text))))
	at := len(b)
	return pad(append(b, text...), at)
}

// ParseUpperPDU decodes the data of a packet of LinkUpperPDU. Payload aliases it. It is false if the
// tags overrun the data.
func ParseUpperPDU(data []byte) (UpperPDU, bool) {
	var u UpperPDU
	texts := map[uint16]*string{pduDissector: &u.Dissector, pduProtocol: &u.Protocol, pduInfo: &u.Info}
	for len(data) >= 4 {
		tag, n := BigEndian.uint16(data), int(BigEndian.uint16(data[2:]))
		data = data[4:]
		if tag == pduEnd {
			u.Payload = data
			return u, true
		}
		if n > len(data) {
			break
		}
		if text, ok := texts[tag]; ok {
			*text = string(bytes.TrimRight(data[:n], "\x00"))
		}
		data = data[n:]
	}
	return UpperPDU{}, false
}
