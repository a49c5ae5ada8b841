// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"slices"
	"strings"
	"testing"
)

func TestCommentIsOneLineThatNoValueCanForge(t *testing.T) {
	for _, c := range []struct {
		name    string
		summary string
		fields  []Field
		want    string
	}{
		{"plain values stand as they are", "DROP NO_SOCKET", []Field{{"pod", "default/web-0"}, {"site", "nf_hook_slow+0x9c"}},
			"DROP NO_SOCKET pod=default/web-0 site=nf_hook_slow+0x9c"},
		{"a space does not begin a field", "RX", []Field{{"comm", "x pod=kube-system/dns"}}, `RX comm="x pod=kube-system/dns"`},
		{"a newline does not begin a line", "RX", []Field{{"comm", "x\nDROP"}}, `RX comm="x\nDROP"`},
		{"a quote does not end a value", "RX", []Field{{"comm", `x" pod="y`}}, `RX comm="x\" pod=\"y"`},
		{"an equals sign makes no field", "RX", []Field{{"comm", "a=b"}}, `RX comm="a=b"`},
		{"a backslash is escaped", "RX", []Field{{"comm", `a\n`}}, `RX comm="a\\n"`},
		{"an empty value is seen", "RX", []Field{{"comm", ""}}, `RX comm=""`},
		{"terminal escapes are harmless", "RX", []Field{{"comm", "\x1b[2J"}}, `RX comm="\x1b[2J"`},
		{"text direction cannot be turned", "RX", []Field{{"comm", "a\u202eb"}}, `RX comm="a\u202eb"`},
		{"line separators of Unicode are escaped", "RX", []Field{{"comm", "a\u2028b\u0085c"}}, `RX comm="a\u2028b\u0085c"`},
		{"bytes that are no UTF-8 survive", "RX", []Field{{"comm", "a\xffb"}}, `RX comm="a\xffb"`},
		{"letters of any script stand as they are", "RX", []Field{{"comm", "сервер"}}, "RX comm=сервер"},
		{"a summary that looks like a field is quoted", "a=b c", nil, `"a=b c"`},
		{"no summary", "", []Field{{"a", "b"}, {"c", "d"}}, "a=b c=d"},
		{"a key is escaped too", "RX", []Field{{"a b", "c"}}, `RX "a b"=c`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o Options
			o.AddComment(c.summary, c.fields...)
			got, _ := o.Text(OptComment)
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			summary, fields, ok := ParseComment(got)
			if !ok || summary != c.summary || !slices.Equal(fields, c.fields) {
				t.Errorf("parsed %q %q %v, want %q %q", summary, fields, ok, c.summary, c.fields)
			}
		})
	}
}

func TestCommentsOfOthersAreNotParsed(t *testing.T) {
	for _, comment := range []string{
		"PID: 1\nCmd: curl", "a=b word", "a=b  c=d", `a="plain"`, "a=", "=b", `a="b`, " a", "a ", "a=b ", `"a" "b"`,
		`a=b"c"`, "a=\x1b",
	} {
		if summary, fields, ok := ParseComment(comment); ok {
			t.Errorf("%q: parsed %q %q", comment, summary, fields)
		}
	}
}

func FuzzComment(f *testing.F) {
	f.Add("DROP", "comm", "a b", "pod", "x=y")
	f.Add("a  b", "", "", "\xff", "\n")
	f.Add(`"`, `\`, "\u202e", `"a"`, "\r\n")
	f.Fuzz(func(t *testing.T, summary, key1, value1, key2, value2 string) {
		if len(summary)+len(key1)+len(value1)+len(key2)+len(value2) > 1<<12 {
			return // escaped it might not fit an option
		}
		fields := []Field{{key1, value1}, {key2, value2}}
		var o Options
		o.AddComment(summary, fields...)
		comment, _ := o.Text(OptComment)
		if strings.ContainsAny(comment, "\r\n\x00\x1b\u2028\u2029\u0085") {
			t.Fatalf("%q is not one line", comment)
		}
		gotSummary, gotFields, ok := ParseComment(comment)
		if !ok || gotSummary != summary || !slices.Equal(gotFields, fields) {
			t.Fatalf("%q: parsed %q %q %v, want %q %q", comment, gotSummary, gotFields, ok, summary, fields)
		}
		ParseComment(value1) // anybody's comment
	})
}
