// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// pack returns a message about web.example.org A.
func pack(t testing.TB, h dnsmessage.Header, answers ...dnsmessage.ResourceBody) []byte {
	t.Helper()
	name := dnsmessage.MustNewName("web.example.org.")
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	for _, a := range answers {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: a})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseReadsWhatATransactionNeeds(t *testing.T) {
	answer := pack(t, dnsmessage.Header{ID: 7, Response: true, RCode: dnsmessage.RCodeNameError},
		&dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.example.org.")}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}})
	for _, c := range []struct {
		name    string
		message []byte
		want    message
	}{
		{"a query", pack(t, dnsmessage.Header{ID: 7}), message{id: 7, rcode: "NOERROR", name: "web.example.org", qtype: "A"}},
		{"an answer", answer, message{id: 7, response: true, rcode: "NXDOMAIN", name: "web.example.org", qtype: "A", answers: []string{"b.example.org", "192.0.2.1"}}},
		{"an answer whose end was not taken", answer[:len(answer)-2], message{id: 7, response: true, rcode: "NXDOMAIN", name: "web.example.org", qtype: "A", answers: []string{"b.example.org"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parse(c.message)
			if !ok || got.id != c.want.id || got.response != c.want.response || got.rcode != c.want.rcode || got.name != c.want.name ||
				got.qtype != c.want.qtype || !slices.Equal(got.answers, c.want.answers) {
				t.Errorf("got %+v (%v), want %+v", got, ok, c.want)
			}
		})
	}
	for _, b := range [][]byte{nil, answer[:11], make([]byte, 12)} {
		if m, ok := parse(b); ok {
			t.Errorf("%x is taken for %+v", b, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(pack(f, dnsmessage.Header{ID: 7}))
	f.Add(pack(f, dnsmessage.Header{Response: true, RCode: 15}, &dnsmessage.TXTResource{TXT: []string{"a\x00b"}},
		&dnsmessage.SRVResource{Target: dnsmessage.MustNewName(".")}, &dnsmessage.MXResource{MX: dnsmessage.MustNewName("m.")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := parse(b); ok && len(m.answers) > maxAnswers {
			t.Errorf("%d answers", len(m.answers))
		}
	})
}

// TestParseReadsWhatAnAnswerLacks: an answer without a record of the type that was asked for is NODATA, unless it is one
// about the name, or its end was not taken.
func TestParseReadsWhatAnAnswerLacks(t *testing.T) {
	ok := dnsmessage.Header{Response: true}
	alias := &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.example.org.")}
	dangling := pack(t, ok, alias)
	for _, c := range []struct {
		name    string
		message []byte
		noData  bool
	}{
		{"an address", pack(t, ok, &dnsmessage.AResource{}), false},
		{"no record", pack(t, ok), true},
		{"another name, which has no address", dangling, true},
		{"another name, and its address", pack(t, ok, alias, &dnsmessage.AResource{}), false},
		{"no such name", pack(t, dnsmessage.Header{Response: true, RCode: dnsmessage.RCodeNameError}), false},
		{"what does not fit", pack(t, dnsmessage.Header{Response: true, Truncated: true}), false},
		{"what was not taken", dangling[:len(dangling)-2], false},
	} {
		if m, ok := parse(c.message); !ok || m.noData != c.noData {
			t.Errorf("%s: no data is %v (read: %v), want %v", c.name, m.noData, ok, c.noData)
		}
	}
}

// extended is an answer with EDNS: the whole code, and options.
func extended(t *testing.T, code dnsmessage.RCode, options ...dnsmessage.Option) []byte {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(pack(t, dnsmessage.Header{Response: true, RCode: code & 15})); err != nil {
		t.Fatal(err)
	}
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(1232, code, false); err != nil {
		t.Fatal(err)
	}
	m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{Options: options}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseReadsWhatEDNSAdds(t *testing.T) {
	for code, want := range map[dnsmessage.RCode]string{0: "NOERROR", 2: "SERVFAIL", 16: "BADVERS", 23: "BADCOOKIE", 15: "unknown(0xf)", 0x123: "unknown(0x123)"} {
		if m, ok := parse(extended(t, code)); !ok || m.rcode != want {
			t.Errorf("code %d is %s (read: %v), want %s", code, m.rcode, ok, want)
		}
	}
	m, _ := parse(extended(t, 2, dnsmessage.Option{Code: 10, Data: []byte("cookie!!")}, dnsmessage.Option{Code: 15, Data: []byte("\x00\x16all down\xff\x00")},
		dnsmessage.Option{Code: 15, Data: []byte{0}}, dnsmessage.Option{Code: 15, Data: []byte{0xc0, 0}}))
	var said []string
	for _, e := range m.errors {
		said = append(said, e.String())
	}
	want := []string{"extended error 22 (No Reachable Authority) \"all down\ufffd\"", "extended error 49152 (unknown(0xc000))"}
	if !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestParseTakesAnErrorWithoutItsQuestion(t *testing.T) {
	if m, ok := parse([]byte{0, 7, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}); !ok || m.id != 7 || m.rcode != "FORMERR" {
		t.Errorf("got %+v (%v)", m, ok)
	}
	if m, ok := parse([]byte{0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}); ok {
		t.Errorf("an answer to nothing is taken for %+v", m)
	}
}
