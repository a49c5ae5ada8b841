// SPDX-License-Identifier: Apache-2.0

package printable

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile are strings by what they would do to a terminal or a reader.
func hostile() map[string]string {
	return map[string]string{
		"escape sequence":       "\x1b[2J\x1b]0;title\x07",
		"C1 as UTF-8":           "\u009b2J\u009d0;title\u009c",
		"C1 as a byte":          "\x9b2J",
		"delete and backspace":  "web\x7f\b\b\b",
		"forged line":           "web\nCRITICAL forged\r\n",
		"bidi override":         "web\u202egpj.exe\u2066\u2069\u200f\u061c",
		"zero width":            "w\u200be\u200cb\u2060\ufeff\u00ad",
		"blank letters":         "\u3164\uffa0\u115f\u1160\u034f",
		"tags and selectors":    "web\U000e0041\U000e0100\ufe0f",
		"other blanks":          "a\u00a0b\u2003c\u3000d\u2028e\u2029f",
		"no UTF-8":              "\xff\xfe\xc3(\xed\xa0\x80\xf4\x90\x80\x80",
		"cut within a rune":     "caf\xc3",
		"private and unknown":   "\ue000\U0010ffff\u0378",
		"backslash and quote":   `\u001b"\`,
		"terminal's own answer": "\x1bP$q\"p\x1b\\\x05",
	}
}

func TestTextIsSeenAsItIs(t *testing.T) {
	for name, s := range hostile() {
		got := Text(s)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return !Rune(r) }) >= 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, s := range []string{"", "web-0", "café 東京 Ελλάδα ✓ 3× 🙂", `C:\x`} {
		if got := Text(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	if got, want := Text("caf\xe9\x9b"), `caf\xe9\x9b`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestJSONIsEscapedAndMeansTheSame: what reads it gets each character.
func TestJSONIsEscapedAndMeansTheSame(t *testing.T) {
	for name, s := range hostile() {
		s = Valid(s)
		var out bytes.Buffer
		if err := json.NewEncoder(NewJSON(&out)).Encode(map[string]string{"é" + s: s}); err != nil {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(out.String(), "\n")
		if strings.IndexFunc(line, func(r rune) bool { return !Rune(r) }) >= 0 || !strings.HasPrefix(line, `{"é`) {
			t.Errorf("%s: %q", name, line)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(line), &back); err != nil || back["é"+s] != s {
			t.Errorf("%s: %q is read as %q: %v", name, line, back, err)
		}
	}
}

func TestLinesKeepTheirBreaks(t *testing.T) {
	var out bytes.Buffer
	n, err := NewLines(&out).Write([]byte("a\tb\x1b[m\n\nc\u202e\n"))
	if got, want := out.String(), "a\tb·[m\n\nc·\n"; got != want || n != 13 || err != nil {
		t.Errorf("got %q, %d, %v, want %q", got, n, err, want)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Text(s); Text(got) != got || !utf8.ValidString(got) {
			t.Errorf("%q became %q", s, got)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var plain, escaped string
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(AppendJSON(nil, raw), &escaped); err != nil || escaped != plain {
			t.Errorf("%q became %q: %v", plain, escaped, err)
		}
	})
}
