// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/stage"
)

// says is a rule that has its findings ready from the start.
type says []event.Finding

func (s says) Observe(event.Event) []event.Finding { return s }

func (says) Flush(time.Time, bool) []event.Finding { return nil }

// met is a finding about what a client asked of servers, some seconds after the start; client "" is not known.
func met(id, proto, client string, second int, servers ...string) event.Finding {
	at := time.Unix(int64(1000+second), 0)
	f := event.Finding{ID: id, Severity: event.Critical, First: at, Last: at, Pod: event.Pod{UID: "the same for all"}}
	f.About.Proto = proto
	for _, s := range servers {
		f.Subject += s
		f.About.Asks(netip.Addr{}, netip.MustParseAddrPort(s))
	}
	if client != "" {
		f.About.Asks(netip.MustParseAddr(client), netip.AddrPort{})
	}
	return f
}

func ids(found []event.Finding) []string {
	all := []string{}
	for _, f := range found {
		all = append(all, f.ID)
	}
	return all
}

func TestWhatACauseAccountsFor(t *testing.T) {
	const pod, other, server = "10.244.0.9", "10.244.0.8", "10.244.0.2:443"
	cause := met("cause", "tcp", pod, 5, server)
	info := cause
	info.Severity = event.Info
	for _, c := range []struct {
		name           string
		cause, symptom event.Finding
		explained      bool
	}{
		{"the same", cause, met("symptom", "tcp", pod, 5, server), true},
		{"a symptom that is noticed later", cause, met("symptom", "tcp", pod, 9, server), true},
		{"one that began when its client asked", cause, met("symptom", "tcp", pod, 1, server), true},
		{"one that was over long before", met("cause", "tcp", pod, 60, server), met("symptom", "tcp", pod, 5, server), false},
		{"one that came long after", cause, met("symptom", "tcp", pod, 60, server), false},
		{"another server, from the same pod", cause, met("symptom", "tcp", pod, 5, "10.9.0.2:443"), false},
		{"a port that begins like it", met("cause", "tcp", pod, 5, "10.244.0.2:4430"), met("symptom", "tcp", pod, 5, server), false},
		{"an address that begins like it", met("cause", "tcp", pod, 5, "10.244.0.23:443"), met("symptom", "tcp", pod, 5, server), false},
		{"the whole address", met("cause", "tcp", pod, 5, "10.244.0.2:0"), met("symptom", "tcp", pod, 5, server), true},
		{"another client", cause, met("symptom", "tcp", other, 5, server), false},
		{"clients of which one is not known", cause, met("symptom", "tcp", "", 5, server), true},
		{"another protocol", met("cause", "icmp", pod, 5, "10.244.0.2:0"), met("symptom", "tcp", pod, 5, server), false},
		{"the service's address of the same backend", met("cause", "tcp", pod, 5, "10.96.0.1:443", server), met("symptom", "tcp", pod, 5, "10.96.0.1:443"), true},
		{"no traffic at all", event.Finding{ID: "cause", Severity: event.Critical}, met("symptom", "tcp", pod, 5, server), false},
		{"a symptom without traffic", cause, event.Finding{ID: "symptom", Severity: event.Warning}, false},
		{"information", info, met("symptom", "tcp", pod, 5, server), false},
		{"IPv6", met("cause", "tcp", "fd00::9", 5, "[fd00::2]:443"), met("symptom", "tcp", "fd00::9", 5, "[fd00::2]:443"), true},
		{"IPv6, another port", met("cause", "tcp", "fd00::9", 5, "[fd00::2]:4430"), met("symptom", "tcp", "fd00::9", 5, "[fd00::2]:443"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := NewInhibitor(NewState(), []stage.Rule{says{c.cause}}, []stage.Rule{says{c.symptom}})
			x.Observe(event.Event{})
			if explained := !slices.Contains(ids(x.Flush(time.Unix(2000, 0), true)), "symptom"); explained != c.explained {
				t.Errorf("explained: %v, want %v", explained, c.explained)
			}
		})
	}
}

// TestACauseOfTheWholeNode accounts for what it hit and for nothing else.
func TestACauseOfTheWholeNode(t *testing.T) {
	var hit says
	for _, server := range []string{"10.9.0.1:80", "10.9.0.2:53"} {
		f := met("ip-forward-disabled", "tcp", "10.244.0.9", 1, server)
		f.Subject = "net.ipv4.ip_forward in netns 7"
		hit = append(hit, f)
	}
	symptoms := says{
		met("a", "tcp", "10.244.0.9", 1, "10.9.0.1:80"), met("b", "tcp", "10.244.0.9", 1, "10.9.0.2:53"),
		met("c", "tcp", "10.244.0.9", 1, "10.9.0.3:53"), met("d", "tcp", "10.244.0.8", 1, "10.9.0.1:80"),
	}
	x := NewInhibitor(NewState(), []stage.Rule{hit}, []stage.Rule{symptoms})
	x.Observe(event.Event{})
	if got, want := ids(x.Flush(time.Unix(2000, 0), true)), []string{"ip-forward-disabled", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// TestASymptomThatIsOnlyPartlyExplained is reported: it has another cause, too.
func TestASymptomThatIsOnlyPartlyExplained(t *testing.T) {
	x := NewInhibitor(NewState(), []stage.Rule{says{met("rule", "udp", "10.244.0.9", 1, "10.96.0.10:53")}},
		[]stage.Rule{says{met("dead", "udp", "10.244.0.9", 1, "10.96.0.10:53"), met("dead", "udp", "10.244.0.8", 1, "10.96.0.10:53")}})
	x.Observe(event.Event{})
	if got, want := ids(x.Flush(time.Unix(2000, 0), true)), []string{"rule", "dead"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// TestLevels: what is explained accounts for nothing itself, and nothing is explained by what comes behind it.
func TestLevels(t *testing.T) {
	at := func(id string) stage.Rule { return says{met(id, "tcp", "10.244.0.9", 1, "10.9.0.1:80")} }
	elsewhere := says{met("third", "tcp", "10.244.0.9", 1, "10.9.0.2:80")}
	x := NewInhibitor(NewState(), []stage.Rule{at("first")}, []stage.Rule{at("second"), elsewhere}, []stage.Rule{at("last"), says{met("fourth", "tcp", "", 1, "10.9.0.2:80")}})
	x.Observe(event.Event{})
	if got, want := ids(x.Flush(time.Unix(2000, 0), true)), []string{"first", "third"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

func TestNeighboursBeyondATunnel(t *testing.T) {
	beyond := event.Finding{ID: "neighbour-failed", Severity: event.Critical, About: event.About{Netns: 7, Iface: "vx0", Tunnel: true}}
	beside := beyond
	beside.Subject, beside.About.Tunnel = "beside", false
	for _, c := range []struct{ level, want []string }{
		{nil, []string{"neighbour-failed", "neighbour-failed"}},
		{[]string{"overlay-blocked"}, []string{"neighbour-failed", "overlay-blocked"}},
	} {
		var tunnels says
		for _, id := range c.level {
			tunnels = append(tunnels, event.Finding{ID: id, Severity: event.Critical})
		}
		x := NewInhibitor(NewState(), []stage.Rule{says{beyond, beside}}, []stage.Rule{tunnels})
		x.Observe(event.Event{})
		if got := ids(x.Flush(time.Unix(2000, 0), true)); !slices.Equal(got, c.want) {
			t.Errorf("found %v, want %v", got, c.want)
		}
	}
}

// lostQuery is a finding about a query that was not answered, for the server reset its connection or not.
func lostQuery(client, question string, reset bool, server string) event.Finding {
	p := &packet.Packet{Family: "ipv4", Proto: "tcp", Src: netip.MustParseAddr(client), Sport: 40000}
	to := netip.MustParseAddrPort(server)
	p.Dst, p.Dport = to.Addr(), to.Port()
	d := event.DNS{Transport: "tcp", Server: to, Name: question, Outcome: event.DNSNoResponse}
	if reset {
		d.Connection = &event.DNSConnection{How: event.ConnectionReset, By: event.ByServer}
	}
	at := time.Unix(1001, 0)
	f := event.Finding{ID: "dns-no-response", Subject: server, Title: "no answer", Severity: event.Critical, First: at, Last: at, Evidence: []string{"last seen"}}
	return f.Of(event.Event{Header: event.Header{Time: at}, Packet: p, Body: d})
}

// TestOneFindingOfAResetThatAQueryMet: the one that says who reset it, with what the other says, unless there is more to it.
func TestOneFindingOfAResetThatAQueryMet(t *testing.T) {
	const client, other, server = "10.244.0.9", "10.244.0.8", "10.9.0.2:53"
	reset := met("reset-by-application", "tcp", client, 1, server)
	reset.Severity = event.Warning
	info := reset
	info.Severity = event.Info
	for _, c := range []struct {
		name  string
		found says
		want  []string
		all   string // what the first says of both
	}{
		{"a query whose connection is reset", says{lostQuery(client, "a", true, server), reset}, []string{"reset-by-application"}, "no answer last seen"},
		{"another that hangs", says{lostQuery(client, "a", true, server), lostQuery(client, "b", false, server), reset}, []string{"dns-no-response", "reset-by-application"}, ""},
		{"another client's, which is not known", says{lostQuery(client, "a", true, server), lostQuery(other, "a", true, server), reset}, []string{"dns-no-response", "reset-by-application"}, ""},
		{"another server's", says{lostQuery(client, "a", true, "10.9.0.3:53"), reset}, []string{"dns-no-response", "reset-by-application"}, ""},
		{"a reset by which nothing was lost", says{lostQuery(client, "a", true, server), info}, []string{"dns-no-response", "reset-by-application"}, ""},
		{"a server that is not there", says{met("connection-refused", "tcp", client, 1, server), met("dns-server-refused", "tcp", client, 1, server)}, []string{"dns-server-refused"}, ""},
		{"another port that is closed", says{met("connection-refused", "tcp", client, 1, "10.9.0.2:80"), met("dns-server-refused", "tcp", client, 1, server)},
			[]string{"connection-refused", "dns-server-refused"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := NewInhibitor(NewState(), []stage.Rule{c.found})
			x.Observe(event.Event{})
			found := x.Flush(time.Unix(2000, 0), true)
			if got := ids(found); !slices.Equal(got, c.want) {
				t.Fatalf("found %v, want %v", got, c.want)
			}
			if c.all != "" && (strings.Join(found[0].Evidence, " ") != c.all || found[0].Severity != event.Critical) {
				t.Errorf("%s, says %q, want %q", found[0].Severity, found[0].Evidence, c.all)
			}
		})
	}
}
