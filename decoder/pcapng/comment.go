// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Field is one fact of a comment.
type Field struct{ Key, Value string }

// AddComment appends a comment of one line: the summary, then key=value for each field. Wireshark
// shows it in every version, so it begins with what one would grep for.
//
// Values come from outside: a process chooses its name. Whatever could end a field or a line (space,
// equals sign, quote, backslash, control and format characters, bytes that are no UTF-8) makes
// the value quoted and escaped as in Go source, so that ParseComment gives back exactly what was put in.
func (o *Options) AddComment(summary string, fields ...Field) {
	at := o.begin(OptComment)
	o.raw = appendSummary(o.raw, summary)
	for i, f := range fields {
		if i > 0 || summary != "" {
			o.raw = append(o.raw, ' ')
		}
		o.raw = appendToken(o.raw, f.Key)
		o.raw = append(o.raw, '=')
		o.raw = appendToken(o.raw, f.Value)
	}
	o.finish(at)
}

// appendSummary writes plain words as they are, and anything else as one quoted token.
func appendSummary(b []byte, summary string) []byte {
	for word := range strings.SplitSeq(summary, " ") {
		if summary != "" && !plain(word) {
			return strconv.AppendQuote(b, summary)
		}
	}
	return append(b, summary...)
}

func appendToken(b []byte, s string) []byte {
	if plain(s) {
		return append(b, s...)
	}
	return strconv.AppendQuote(b, s)
}

// plain reports whether s stands for itself in a comment.
func plain(s string) bool {
	for _, r := range s {
		if r == ' ' || r == '=' || r == '"' || r == '\\' || r == utf8.RuneError || !strconv.IsPrint(r) {
			return false
		}
	}
	return s != ""
}

// ParseComment takes a comment of AddComment apart. It is false for one that AddComment would not
// have written: another tool's.
func ParseComment(comment string) (summary string, fields []Field, ok bool) {
	var words []string
	for rest := comment; rest != ""; {
		token, after, ok := cutToken(rest)
		if !ok {
			return "", nil, false
		}
		if value, isField := strings.CutPrefix(after, "="); isField {
			f := Field{Key: token}
			if f.Value, after, ok = cutToken(value); !ok {
				return "", nil, false
			}
			fields = append(fields, f)
		} else {
			words = append(words, token)
		}
		rest = strings.TrimPrefix(after, " ")
	}
	summary = strings.Join(words, " ")
	var again Options
	again.AddComment(summary, fields...)
	written, ok := again.Text(OptComment)
	if !ok || written != comment {
		return "", nil, false
	}
	return summary, fields, true
}

// cutToken takes one token, quoted or up to what would have to be quoted.
func cutToken(s string) (token, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", false
		}
		token, err = strconv.Unquote(quoted)
		return token, s[len(quoted):], err == nil
	}
	end := strings.IndexAny(s, ` ="\\`)
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:], end > 0
}
