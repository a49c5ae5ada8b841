// SPDX-License-Identifier: Apache-2.0

// Package printable makes text of strangers safe to print: names of processes, pods, files, rules and queries may hold
// sequences that control a terminal, characters that are not seen or that reorder what is, line breaks that forge lines, and bytes
// that are no UTF-8. Everything that ktrace prints goes through it once.
package printable

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Rune reports whether a character is seen as itself, wherever it stands: not controls (C0, DEL, C1), format characters (bidi
// overrides, zero-width ones), blanks other than the space, nor what most fonts show nothing for.
func Rune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r < 0x7f
	}
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// mark stands for a character that is not printed.
const mark = '·'

// Text replaces what is not printed, line breaks too, and bytes that are no UTF-8.
func Text(s string) string {
	if clean(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if Rune(r) {
			return r
		}
		return mark
	}, Valid(s))
}

func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf {
			return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !Rune(r) }) < 0
		} else if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// Valid writes each byte that is no UTF-8 as \x and two digits, so that text of the kernel's, which may be any bytes, survives
// in JSON and pcapng, and is seen.
func Valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// AppendJSON appends JSON in which the characters of strings that are not printed are escapes. It means the same: outside of
// strings JSON has no such characters but line breaks, which stay.
func AppendJSON(b, json []byte) []byte {
	for len(json) > 0 {
		n := 0
		for n < len(json) && json[n] < 0x7f {
			n++
		}
		if b, json = append(b, json[:n]...), json[n:]; len(json) == 0 {
			break
		}
		r, size := utf8.DecodeRune(json)
		switch {
		case Rune(r):
			b = append(b, json[:size]...)
		case r > 0xffff:
			const first, low = 0x10000, 0x3ff // a pair of surrogates: RFC 8259, section 7
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800|(r-first)>>10, 0xdc00|(r-first)&low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		json = json[size:]
	}
	return b
}

// NewJSON returns a writer of JSON on w as AppendJSON makes it. Each write is of whole characters.
func NewJSON(w io.Writer) io.Writer {
	return writer{w, AppendJSON}
}

// NewLines returns a writer of lines on w: tabs and line breaks are kept, all else is as by Text. Each write is of whole
// characters.
func NewLines(w io.Writer) io.Writer {
	return writer{w, func(b, text []byte) []byte {
		for i, line := range strings.Split(string(text), "\n") {
			if i > 0 {
				b = append(b, '\n')
			}
			for j, part := range strings.Split(line, "\t") {
				if j > 0 {
					b = append(b, '\t')
				}
				b = append(b, Text(part)...)
			}
		}
		return b
	}}
}

// writer writes what it makes of each write.
type writer struct {
	to    io.Writer
	clean func(b, text []byte) []byte
}

// Write implements io.Writer.
func (w writer) Write(text []byte) (int, error) {
	if _, err := w.to.Write(w.clean(make([]byte, 0, len(text)), text)); err != nil {
		return 0, err
	}
	return len(text), nil
}
