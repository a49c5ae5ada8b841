// SPDX-License-Identifier: Apache-2.0

package print

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// newEvent has every shared field set; its body is hostile.
func newEvent() event.Event {
	return event.Event{
		Header: event.Header{
			Node: "node-1", Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), PID: 7, TID: 8, Comm: "sh\x1b[2J",
			Netns: 4026531840, Iface: "eth0", Ifindex: 2, Direction: event.Out, Journey: 99,
		},
		Pod:    event.Pod{Namespace: "default", Name: "web-0", Container: "app", Source: "cgroup"},
		Peer:   event.Pod{Service: "kube-system/kube-dns", Source: "api"},
		Packet: &packet.Packet{Family: "ipv4", Proto: "udp", Src: netip.MustParseAddr("10.0.0.1"), Sport: 5, Dst: netip.MustParseAddr("10.0.0.2"), Dport: 53, Len: 60, TTL: 64},
		Body:   event.Cgroup{Op: event.CgroupMkdir, Hierarchy: 1, Path: "/a\nforged line"},
	}
}

func finding() event.Finding {
	return event.Finding{
		ID: "no-route", Severity: event.Critical, Title: "No route to 10.1.2.3.", Cause: "The table has none.",
		Pod: event.Pod{Namespace: "default", Name: "web-0"}, Subject: "10.1.2.3", Evidence: []string{"e1", "e2"},
		Remedy: []event.Remedy{{Run: "ip route"}}, Count: 1, First: newEvent().Time, Last: newEvent().Time, Confidence: event.Certain,
	}
}

// summary returns one whose accounts add up.
func summary() event.Summary {
	s := event.Summary{Duration: time.Second, Records: 3, Accounts: event.Accounting{
		{Kind: event.KindHop, Unit: "records", Seen: 4, Filtered: 2, Lost: event.Losses{Ring: 2}},
		{Kind: event.KindDrop, Unit: "records", Seen: 2, Lost: event.Losses{Ring: 2}}, {Kind: event.KindDNS, Unit: "queries", Own: true, Seen: 1, Shown: 1},
	}}
	s.Balance()
	return s
}

func TestJSONIsOneObjectALineWithTheContractsNames(t *testing.T) {
	var out bytes.Buffer
	p := NewJSON(&out)
	for _, err := range []error{p.Event(newEvent()), p.Finding(finding()), p.Summary(summary()), p.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	want := []struct{ kind, fields string }{
		{"event", "v type time kind node pod peer process netns iface direction packet journey cgroup"},
		{"finding", "v type time id severity title cause pod subject about hits evidence remedy count first last confidence"},
		{"summary", "v type duration_ns seen shown filtered lost records accounting"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), out.String())
	}
	for i, w := range want {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(lines[i]), &object); err != nil {
			t.Fatalf("%s: %v", lines[i], err)
		}
		if string(object["type"]) != `"`+w.kind+`"` {
			t.Errorf("type %s, want %s", object["type"], w.kind)
		}
		for _, f := range strings.Fields(w.fields) {
			if _, ok := object[f]; !ok {
				t.Errorf("%s lacks %q: %s", w.kind, f, lines[i])
			}
			delete(object, f)
		}
		for f := range object {
			t.Errorf("%s has %q, which is not in the contract", w.kind, f)
		}
	}
	if !strings.Contains(lines[0], `"time":"2026-01-02T03:04:05.000006000Z"`) {
		t.Errorf("time is not RFC 3339 with nanoseconds: %s", lines[0])
	}
}

func TestTextKeepsForeignTextOnItsLine(t *testing.T) {
	var out bytes.Buffer
	p := NewText(&out, TextOptions{})
	for range 2 {
		if err := p.Event(newEvent()); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want a heading and two events:\n%s", len(lines), out.String())
	}
	if !strings.HasPrefix(lines[0], "TIME ") || lines[1] != lines[2] {
		t.Errorf("got\n%s", out.String())
	}
	if strings.ContainsAny(out.String(), "\x1b") {
		t.Errorf("an escape sequence got through: %q", out.String())
	}
	for _, part := range []string{"03:04:05.000006", "default/web-0/app", "sh·[2J/7", "mkdir /a·forged line"} {
		if !strings.Contains(lines[1], part) {
			t.Errorf("%q lacks %q", lines[1], part)
		}
	}
}

func TestTextShowsTheLayersOfAPacket(t *testing.T) {
	arp := packettest.Build(&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: make([]byte, 6), SourceProtAddress: make([]byte, 4), DstHwAddress: make([]byte, 6), DstProtAddress: make([]byte, 4)})
	e := newEvent()
	e.Body = event.Frame{Protocol: 0x0806, Bytes: arp}
	for _, want := range []int{2, 3} {
		var out bytes.Buffer
		if err := NewText(&out, TextOptions{Layers: want == 3}).Event(e); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(out.String(), "\n"); lines != want || strings.Contains(out.String(), "\n    ARP: AddrType=Ethernet ") != (want == 3) {
			t.Errorf("%d lines, want %d:\n%s", lines, want, out.String())
		}
	}
}

func TestTextShowsWhatAFindingRestsOn(t *testing.T) {
	var out bytes.Buffer
	if err := NewText(&out, TextOptions{}).Finding(finding()); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"CRITICAL no-route: No route to 10.1.2.3.", "default/web-0", "e1", "e2", "ip route", "certain"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("lacks %q:\n%s", part, out.String())
		}
	}
}

func TestTextSummaryBalances(t *testing.T) {
	var out bytes.Buffer
	s := summary()
	s.AddEvicted("TLS handshakes", 2)
	s.AddEvicted("DNS queries", 5)
	s.AddEvicted("DNS queries", 6)
	s.AddEvicted("findings", 0)
	if err := NewText(&out, TextOptions{}).Summary(s); err != nil {
		t.Fatal(err)
	}
	want := "records: 6 seen = 0 shown + 2 filtered + 4 lost\nqueries: 1 seen = 1 shown + 0 filtered + 0 lost, in 1.0 s\nlost: 4 ring full, 0 map full or pair missed, 0 not understood\n" +
		"evicted to bound memory: 11 DNS queries, 2 TLS handshakes\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
