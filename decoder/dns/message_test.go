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
