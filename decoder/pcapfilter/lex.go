// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import (
	"net/netip"
	"strconv"
	"strings"
)

type kind uint8

const (
	kindEnd  kind = iota
	kindWord      // a word or sign of the language, in its one spelling
	kindNumber
	kindName // anything else that looks like a name
	kindIP4  // dotted, two to four numbers
	kindIP6
	kindMAC
)

type token struct {
	kind kind
	text string
	num  uint32
	col  int
}

// describe names a token as an error message quotes it.
func (t token) describe() string {
	if t.kind == kindEnd {
		return "the end"
	}
	return strconv.Quote(t.text)
}

// lexer cuts an expression into tokens. As in libpcap the longest match wins, so that "80-90" is one
// name and not a subtraction.
type lexer struct {
	expr string
	pos  int
}

const signs = "+-*/%:[]!<>()&|^="

// twoSigns are the signs of two characters.
var twoSigns = map[string]bool{"&&": true, "||": true, ">=": true, "<=": true, "!=": true, "==": true, "<<": true, ">>": true}

func lex(expr string) ([]token, *Error) {
	l := &lexer{expr: expr}
	var toks []token
	for {
		for l.pos < len(expr) && strings.IndexByte(" \t\r\n", expr[l.pos]) >= 0 {
			l.pos++
		}
		col := l.pos + 1
		if l.pos == len(expr) {
			return append(toks, token{kind: kindEnd, col: col}), nil
		}
		t, msg := l.next()
		if msg != "" {
			return nil, &Error{Expr: expr, Column: col, Msg: msg}
		}
		t.col = col
		toks = append(toks, t)
	}
}

// next reads one token, or says why there is none.
func (l *lexer) next() (token, string) {
	rest := l.expr[l.pos:]
	word := nameLen(rest)
	if n := addressLen(rest); n > 0 && n >= word {
		return l.address(rest[:n])
	}
	if word > 0 {
		l.pos += word
		return l.word(rest[:word])
	}
	if rest[0] == '\\' {
		return l.escaped(rest)
	}
	if len(rest) > 1 && twoSigns[rest[:2]] {
		l.pos += 2
		return token{kind: kindWord, text: canonical(rest[:2])}, ""
	}
	if strings.IndexByte(signs, rest[0]) >= 0 {
		l.pos++
		return token{kind: kindWord, text: canonical(rest[:1])}, ""
	}
	return token{}, "unexpected character " + strconv.QuoteRune(firstRune(rest))
}

func firstRune(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}

func canonical(s string) string {
	if a, ok := aliases[s]; ok {
		return a
	}
	return s
}

// escaped reads a backslash and the name after it, which is a name even if it is a word.
func (l *lexer) escaped(rest string) (token, string) {
	n := strings.IndexAny(rest, " !()\n\t")
	if n < 0 {
		n = len(rest)
	}
	if n == 1 {
		return token{}, "expected a name after the backslash"
	}
	l.pos += n
	return token{kind: kindName, text: rest[1:n]}, ""
}

// word sorts out what starts with a letter or digit: numbers, dotted addresses, words, names.
func (l *lexer) word(s string) (token, string) {
	if c, ok := constants[s]; ok {
		return token{kind: kindNumber, text: s, num: c}, ""
	}
	s = canonical(s)
	_, isProto := protoNamed(s)
	switch {
	case isProto, words[s], refused[s] != "":
		return token{kind: kindWord, text: s}, ""
	case isNumber(s):
		n, msg := parseNumber(s)
		return token{kind: kindNumber, text: s, num: n}, msg
	case isDotted(s):
		return token{kind: kindIP4, text: s}, ""
	}
	return token{kind: kindName, text: s}, ""
}

// address reads a token that addressLen found.
func (l *lexer) address(s string) (token, string) {
	l.pos += len(s)
	if isMAC(s) {
		return token{kind: kindMAC, text: s}, ""
	}
	return token{kind: kindIP6, text: s}, ""
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// nameLen is the length of the name at the start of s: letters, digits, '-', '_' and '.', the first a
// letter or digit and the last no '-' and no '_'.
func nameLen(s string) int {
	if s == "" || !alnum(s[0]) {
		return 0
	}
	n := 1
	for i := 1; i < len(s); i++ {
		c := s[i]
		if alnum(c) || c == '.' {
			n = i + 1
		} else if c != '-' && c != '_' {
			break
		}
	}
	return n
}

// addressLen is the length of the longest MAC or IPv6 address at the start of s, or 0.
func addressLen(s string) int {
	const longest = 45 // eight groups whose last two are dotted
	n := 0
	for n < len(s) && n < longest && (hexDigit(s[n]) || strings.IndexByte(":.-", s[n]) >= 0) {
		n++
	}
	for ; n > 1; n-- {
		if isMAC(s[:n]) || isIP6(s[:n]) {
			return n
		}
	}
	return 0
}

func isIP6(s string) bool {
	if strings.Count(s, ":") < 2 {
		return false
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}

// isMAC recognises six groups of one or two digits, three of four, or twelve digits in a row.
func isMAC(s string) bool {
	_, ok := parseMAC(s)
	return ok
}

func parseMAC(s string) ([6]byte, bool) {
	var mac [6]byte
	groups := []string{s}
	for _, sep := range []string{":", "-", "."} {
		if strings.Contains(s, sep) {
			groups = strings.Split(s, sep)
			break
		}
	}
	width := 12 / len(groups)
	if len(groups) != 6 && len(groups) != 3 && len(groups) != 1 || len(groups) == 3 && strings.ContainsAny(s, ":-") {
		return mac, false
	}
	for i, g := range groups {
		if len(g) != width && (len(groups) != 6 || len(g) != 1) {
			return mac, false
		}
		n, err := strconv.ParseUint(g, 16, 64)
		if err != nil {
			return mac, false
		}
		size := 6 / len(groups)
		for j := range size {
			mac[i*size+j] = byte(n >> (8 * (size - 1 - j)))
		}
	}
	return mac, true
}

func isNumber(s string) bool {
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		return strings.Trim(s[2:], "0123456789abcdefABCDEF") == ""
	}
	return strings.Trim(s, "0123456789") == ""
}

func isDotted(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 4 {
		return false
	}
	for _, p := range parts {
		if p == "" || !isNumber(p) {
			return false
		}
	}
	return true
}

// parseNumber reads a number as C writes it: 0x for hexadecimal, a leading 0 for octal.
func parseNumber(s string) (uint32, string) {
	n, err := strconv.ParseUint(s, 0, 32)
	switch {
	case err == nil:
		return uint32(n), ""
	case s[0] == '0' && strings.ContainsAny(s, "89") && s[1]|0x20 != 'x':
		return 0, "number " + s + " starts with 0, so it is octal, and has a digit above 7"
	}
	return 0, "number " + s + " is larger than 32 bits"
}
