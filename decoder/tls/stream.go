// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"encoding/binary"

	"ktrace/decoder/printable"
	"ktrace/decoder/reassembly"
)

// Stream puts one direction of a connection together from its segments, for as long as that is in the clear.
type Stream struct {
	segments  reassembly.Stream
	over      bool // encrypted from here on, or not to be followed
	ciphered  bool // what follows is encrypted
	taken     int  // bytes
	records   []byte
	handshake []byte // messages of the handshake, which may be longer than a record
}

// Messages are what a Stream has decoded; each field is set by the segment that completes it.
type Messages struct {
	Hello      bool     // the client's or the server's
	ServerName string   // that the client asks for (RFC 6066), "" if it names none
	Chain      [][]byte // certificates, in DER; the server's own is the first
	Alert      *Alert
	Hidden     *Record // the first that is encrypted, after which nothing can be read
}

// Record is what the header of one says.
type Record struct {
	Type uint8
	Size int // bytes that follow the header
}

// Layout of records and handshake messages (RFC 8446, 4 and 5.1; RFC 5246, 7.4.2).
const (
	recordHeader   = 5
	messageHeader  = 4
	longestRecord  = 1<<14 + 2048
	longestMessage = 1 << 16
	longestClear   = 48 << 10 // of all that comes before what is encrypted
	longestChain   = 16       // certificates

	typeCipher       = 20 // the cipher changes; in TLS 1.3 it means nothing, but is sent
	typeAlert        = 21
	typeHandshake    = 22
	typeData         = 23
	clientHello      = 1
	serverHello      = 2
	certificate      = 11
	versionAndRandom = 34
)

// Begins reports whether a segment's data can be the beginning of a record of a handshake or of an alert: what is not
// need not be followed.
func Begins(data []byte) bool {
	return len(data) >= 2 && (data[0] == typeHandshake || data[0] == typeAlert) && data[1] == 3
}

// Over reports whether there is nothing more to report.
func (s *Stream) Over() bool { return s.over }

// Add takes in the data of a segment. whole is false if not all of it was captured. Segments that come again are passed
// over; after what never comes nothing more is reported.
func (s *Stream) Add(seq uint32, data []byte, whole bool) Messages {
	var m Messages
	if s.over {
		return m
	}
	for _, p := range s.segments.Add(reassembly.Piece{Seq: seq, Data: data}) {
		if p.Lost || s.over {
			s.end()
			break
		}
		s.taken += len(p.Data)
		s.records = append(s.records, p.Data...)
		s.parse(&m)
	}
	if !whole || s.taken > longestClear {
		s.end()
	}
	return m
}

func (s *Stream) end() { *s = Stream{over: true} }

// parse takes whole records off what has come.
func (s *Stream) parse(m *Messages) {
	for !s.over && len(s.records) >= recordHeader {
		size := int(binary.BigEndian.Uint16(s.records[3:]))
		if s.records[1] != 3 || size > longestRecord {
			s.end()
			return
		}
		kind := s.records[0]
		alert := kind == typeAlert && size == 2 // an encrypted one is longer
		if !alert && (s.ciphered || kind != typeHandshake && kind != typeCipher) {
			m.Hidden = &Record{Type: kind, Size: size}
			s.end()
			return
		}
		if len(s.records) < recordHeader+size {
			return
		}
		body := s.records[recordHeader : recordHeader+size]
		switch {
		case alert:
			m.Alert = &Alert{Fatal: body[0] == 2, Code: body[1]}
			s.end()
		case kind == typeCipher:
			s.ciphered = true
		default:
			s.handshake = append(s.handshake, body...)
			s.messages(m)
		}
		if !s.over {
			s.records = s.records[recordHeader+size:]
		}
	}
}

// messages takes whole messages off the handshake.
func (s *Stream) messages(m *Messages) {
	for len(s.handshake) >= messageHeader {
		size := int(s.handshake[1])<<16 | int(binary.BigEndian.Uint16(s.handshake[2:]))
		if size > longestMessage {
			s.end()
			return
		}
		if len(s.handshake) < messageHeader+size {
			return
		}
		body := s.handshake[messageHeader : messageHeader+size]
		switch s.handshake[0] {
		case clientHello:
			m.Hello, m.ServerName = true, serverName(body)
		case serverHello:
			m.Hello = true
		case certificate:
			m.Chain = certificates(body)
		}
		s.handshake = s.handshake[messageHeader+size:]
	}
}

// certificates are those of a chain, up to where it is cut short.
func certificates(body []byte) [][]byte {
	var chain [][]byte
	rest, _ := cut(body, 3)
	for len(rest) > 0 && len(chain) < longestChain {
		var c []byte
		if c, rest = cut(rest, 3); c != nil {
			chain = append(chain, append([]byte(nil), c...))
		}
	}
	return chain
}

// cut takes off what begins with its length in so many bytes; nil, and nothing left, if it is not all there.
func cut(b []byte, size int) (value, rest []byte) {
	if len(b) < size {
		return nil, nil
	}
	n := 0
	for _, c := range b[:size] {
		n = n<<8 | int(c)
	}
	if n > len(b)-size {
		return nil, nil
	}
	return b[size : size+n], b[size+n:]
}

// serverName is the name in a ClientHello.
func serverName(body []byte) string {
	if len(body) < versionAndRandom {
		return ""
	}
	_, rest := cut(body[versionAndRandom:], 1) // session
	_, rest = cut(rest, 2)                     // ciphers
	_, rest = cut(rest, 1)                     // compression
	extensions, _ := cut(rest, 2)
	for len(extensions) >= 4 {
		kind := binary.BigEndian.Uint16(extensions)
		var extension []byte
		extension, extensions = cut(extensions[2:], 2)
		if kind != 0 {
			continue
		}
		names, _ := cut(extension, 2)
		if len(names) > 0 && names[0] == 0 { // a host name
			name, _ := cut(names[1:], 2)
			return printable.Valid(string(name))
		}
		return ""
	}
	return ""
}
