// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
)

// asksOnce asks a server once for a name, over UDP or TCP, and takes what answer comes.
func asksOnce(t testing.TB, ns *lab.NS, network, server string, id uint16, name string) {
	t.Helper()
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(4096, 0, false); err != nil {
		t.Fatal(err)
	}
	query := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions:   []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}},
	}
	packed, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	ns.Do(func() {
		c, err := net.Dial(network, net.JoinHostPort(server, "53"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(1200 * time.Millisecond))
		if network == "tcp" {
			if _, err := c.Write(framed(packed)); err == nil {
				_, _ = readFramed(c)
			}
			return
		}
		if _, err := c.Write(packed); err == nil {
			_, _ = c.Read(make([]byte, 4096))
		}
	})
}

// extendedAnswer is what a server says with EDNS, and what is to be said of it.
type extendedAnswer struct {
	name    string
	code    dnsmessage.RCode
	reasons []dnsmessage.Option // extended errors
	records int
	rcode   string
	errors  []event.DNSError
}

// extendedErrors are options of RFC 8914.
func extendedErrors(data ...string) (all []dnsmessage.Option) {
	for _, d := range data {
		all = append(all, dnsmessage.Option{Code: 15, Data: []byte(d)})
	}
	return all
}

func extendedAnswers() []extendedAnswer {
	long := strings.Repeat("why ", 100)
	return []extendedAnswer{
		{name: "badvers", code: 16, rcode: "BADVERS"},
		{name: "badcookie", code: 23, rcode: "BADCOOKIE"},
		{name: "yxrrset", code: 7, rcode: "YXRRSET"},
		{name: "unnamed", code: 0x123, rcode: "unknown(0x123)"},
		{name: "blocked", code: dnsmessage.RCodeNameError, rcode: "NXDOMAIN", reasons: extendedErrors("\x00\x0fby policy"),
			errors: []event.DNSError{{Code: 15, Name: "Blocked", Text: "by policy"}}},
		{name: "stale", rcode: "NOERROR", records: 1, reasons: extendedErrors("\x00\x03", "\xc0\x00"),
			errors: []event.DNSError{{Code: 3, Name: "Stale Answer"}, {Code: 49152, Name: "unknown(0xc000)"}}},
		{name: "wordy", code: dnsmessage.RCodeRefused, rcode: "REFUSED", reasons: extendedErrors("\x00\x12" + long),
			errors: []event.DNSError{{Code: 18, Name: "Prohibited", Text: long[:256]}}},
		{name: "many", rcode: "NOERROR", records: 120},
		{name: "plain", rcode: "NOERROR", records: 1},
	}
}

// served answers a query for its name.
func (x extendedAnswer) served(m *dnsmessage.Message) bool {
	m.RCode = x.code & 15
	q := m.Questions[0]
	for i := range x.records {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, byte(i)}},
		})
	}
	var opt dnsmessage.ResourceHeader
	if opt.SetEDNS0(1232, x.code, false) != nil {
		return false
	}
	m.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{Options: x.reasons}}}
	return true
}

func servedExtended(m *dnsmessage.Message) bool {
	for _, x := range extendedAnswers() {
		if strings.HasPrefix(m.Questions[0].Name.String(), x.name+".") {
			return x.served(m)
		}
	}
	return false
}

// extendedLine is what the tests check of an event.
type extendedLine struct {
	DNS struct {
		Name      string           `json:"qname"`
		Transport string           `json:"transport"`
		Rcode     string           `json:"rcode"`
		Outcome   string           `json:"outcome"`
		Errors    []event.DNSError `json:"extended_errors"`
		Answers   []string         `json:"answers"`
		LeftOut   int              `json:"answers_left_out"`
		Attempts  int              `json:"attempts"`
	} `json:"dns"`
}

func TestDNSReadsExtendedCodesErrorsAndLongAnswers(t *testing.T) {
	t.Parallel()
	for _, f := range dnsFamilies() {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(f.name+" "+network, func(t *testing.T) {
				t.Parallel()
				c := lab.NewCluster(t)
				p := c.AddPod("pod")
				at := net.JoinHostPort(f.server, "53")
				serveDNS(t, c.Server, at, servedExtended)
				serveDNSOverTCP(t, c.Server, at, servedExtended, nil)
				p.Run("ping", "-c1", "-W20", f.server)
				file := filepath.Join(t.TempDir(), "run.pcapng")
				run := lab.Ktrace(t, "dns", "--netns", p.Path(), "--slow", "30s", "-w", file)
				for i, x := range extendedAnswers() {
					asksOnce(t, p.NS, network, f.server, uint16(100+i), x.name+".example.org")
				}
				run.AwaitFinding("dns-refused") // of an answer that is not the last
				lines := run.Stop()
				checkExtended(t, lines, network)
				if again := lab.SameRead(t, file, lines, "dns", "--netns", p.Path(), "--slow", "30s"); again != nil {
					checkExtended(t, again, network)
				}
			})
		}
	}
}

func checkExtended(t *testing.T, lines []lab.Line, network string) {
	t.Helper()
	events := lab.Events(lines, "dns")
	for _, x := range extendedAnswers() {
		i := slices.IndexFunc(events, func(l lab.Line) bool {
			var e extendedLine
			l.Into(t, &e)
			return e.DNS.Name == x.name+".example.org"
		})
		if i < 0 {
			t.Errorf("%s: no event", x.name)
			continue
		}
		var e extendedLine
		events[i].Into(t, &e)
		d := e.DNS
		if d.Rcode != x.rcode || d.Outcome != "answered" || d.Transport != network || d.Attempts != 1 ||
			!(len(d.Errors) == 0 && len(x.errors) == 0 || reflect.DeepEqual(d.Errors, x.errors)) || len(d.Answers)+d.LeftOut != x.records {
			t.Errorf("%s: %d answers and %d left out, want %d; %s", x.name, len(d.Answers), d.LeftOut, x.records, events[i].Raw)
		}
	}
	if len(events) != len(extendedAnswers()) {
		t.Errorf("%d events, want %d", len(events), len(extendedAnswers()))
	}
}

// hostileReason is a server's text that would move the cursor, forge a line, and turn the direction of what follows.
const hostileReason = "\x00\x17gone\x1b[2J\nCRITICAL forged: \u202e\xff"

func TestDNSNamesTheReasonThatAServerGives(t *testing.T) {
	t.Parallel()
	const portHostile, portBlocks = "5367", "5368"
	hostile := extendedAnswer{code: dnsmessage.RCodeServerFailure, reasons: extendedErrors(hostileReason)}
	blocks := extendedAnswer{code: dnsmessage.RCodeNameError, reasons: extendedErrors("\x00\x0f")}
	var all []lab.Scenario
	for _, f := range dnsFamilies() {
		for _, s := range []lab.Scenario{
			{Name: "a hostile one", Want: "dns-servfail", Proof: `extended error 23 (Network Error) "gone\x1b[2J\nCRITICAL forged: \u202e�"`, Fault: f.retranslate(portHostile),
				Traffic: func(_ testing.TB, _ *lab.Cluster, p *lab.Pod) { lookup(p, f.service, "web.example.org") }},
			{Name: "a name is blocked", Want: "dns-nxdomain", Title: `blocks the name "web"`, Proof: "extended error 15 (Blocked)", Fault: f.retranslate(portBlocks), Traffic: resolves("web")},
		} {
			s.Name = f.name + " " + s.Name
			s.Sure, s.Args = "certain", []string{"dns", "--slow", "30s"}
			s.Setup = func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
				f.cluster(t, c, p)
				serveDNS(t, c.Server, f.backend(portHostile), hostile.served)
				serveDNS(t, c.Server, f.backend(portBlocks), blocks.served)
				p.Start("sleep", "infinity") // has the resolv.conf when the client has ended
			}
			all = append(all, s)
		}
	}
	lab.RunAll(t, all)
}

// TestDNSCountsAsAttemptsOnlyWhatIsSentAgain: a name that is asked for again and again is another query each time.
func TestDNSCountsAsAttemptsOnlyWhatIsSentAgain(t *testing.T) {
	t.Parallel()
	const anew = 4
	for _, f := range dnsFamilies() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			f.cluster(t, c, p)
			f.retranslate(portQuiet)(t, c, p)
			file := filepath.Join(t.TempDir(), "run.pcapng")
			run := lab.Ktrace(t, "dns", "--netns", p.Path(), "--wait", "2s", "-w", file)
			for i := range anew {
				asksOnce(t, p.NS, "udp", f.service, uint16(100+i), "anew.example.org")
			}
			_, _ = p.Try("dig", "+tries=2", "+time=2", "@"+f.service, "again.example.org", "A")
			run.Await("the last attempt", func(l lab.Line) bool { return attemptOf(t, l, "again.example.org") == 2 })
			lines := run.Stop()
			again := lab.SameRead(t, file, lines, "dns", "--netns", p.Path(), "--wait", "2s")
			for name, want := range map[string][]int{"anew.example.org": slices.Repeat([]int{1}, anew), "again.example.org": {1, 2}} {
				for _, said := range [][]lab.Line{lines, again} {
					if got := attemptsAt(t, said, name); said != nil && !slices.Equal(got, want) {
						t.Errorf("attempts to have %s: %v, want %v", name, got, want)
					}
				}
			}
		})
	}
}

func attemptsAt(t *testing.T, lines []lab.Line, name string) (all []int) {
	for _, l := range lines {
		if n := attemptOf(t, l, name); n > 0 {
			all = append(all, n)
		}
	}
	return all
}

// attemptOf is the how many-th query for the name an event is, 0 if it is none.
func attemptOf(t *testing.T, l lab.Line, name string) int {
	var e extendedLine
	if l.Type != "event" || l.Kind != "dns" {
		return 0
	}
	if l.Into(t, &e); e.DNS.Name != name {
		return 0
	}
	return e.DNS.Attempts
}
