// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"

	"ktrace/decoder/event"
	"ktrace/decoder/packet"
	"ktrace/decoder/packet/packettest"
)

// talk makes the events of one connection, as the client's socket and the devices of its namespace report them.
type talk struct {
	t              testing.TB
	client, server netip.AddrPort
	netns          uint32
	up, down       uint32 // sequence numbers
	now            time.Time
	events         []event.Event
}

func newTalk(t testing.TB, client, server string) *talk {
	return &talk{t: t, client: netip.MustParseAddrPort(client), server: netip.MustParseAddrPort(server), netns: podNetns,
		up: 1<<32 - 7, down: 1000, now: start}
}

// segment is a packet of the connection, at a socket or, without data, at a device.
func (k *talk) segment(up bool, flags byte, seq uint32, data []byte) event.Event {
	k.t.Helper()
	src, dst, way := k.client, k.server, event.Out
	if !up {
		src, dst, way = k.server, k.client, event.In
	}
	b := packettest.TCP(src, dst, flags, seq, 0, data)
	protocol := layers.EthernetTypeIPv4
	if src.Addr().Is6() {
		protocol = layers.EthernetTypeIPv6
	}
	e, err := event.Decode(event.RawFrame{Length: uint32(len(b)), Protocol: uint16(protocol), Data: b}.Append(nil))
	if err != nil {
		k.t.Fatal(err)
	}
	e.Time, e.Netns, e.Direction, e.Body = k.now, k.netns, way, event.SocketSegment{Data: uint32(len(data))}
	if flags&(packettest.SYN|packettest.RST) != 0 {
		e.Ifindex, e.Body = 2, event.Hop{}
	}
	return e
}

func (k *talk) add(e event.Event) {
	k.events = append(k.events, e)
	k.now = k.now.Add(time.Millisecond)
}

func (k *talk) syn() { k.add(k.segment(true, packettest.SYN, k.up-1, nil)) }
func (k *talk) opens() {
	k.syn()
	k.add(k.segment(false, packettest.SYN|packettest.ACK, k.down-1, nil))
}

// says sends data in order.
func (k *talk) says(up bool, data []byte) {
	seq := &k.down
	if up {
		seq = &k.up
	}
	k.add(k.segment(up, packettest.ACK, *seq, data))
	*seq += uint32(len(data))
}

func (k *talk) closes(up bool) {
	seq := k.down
	if up {
		seq = k.up
	}
	k.add(k.segment(up, packettest.FIN|packettest.ACK, seq, nil))
}

func (k *talk) resets(up bool) { k.add(k.segment(up, packettest.RST, k.down, nil)) }

// framed is messages as they go over TCP.
func framed(messages ...[]byte) []byte {
	var b []byte
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

// about returns a message about a name.
func about(t testing.TB, h dnsmessage.Header, name string, qtype dnsmessage.Type, answers ...dnsmessage.ResourceBody) []byte {
	t.Helper()
	n := dnsmessage.MustNewName(name + ".")
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{{Name: n, Type: qtype, Class: dnsmessage.ClassINET}}}
	for _, a := range answers {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET}, Body: a})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func asks(t testing.TB, id uint16) []byte {
	return about(t, dnsmessage.Header{ID: id, RecursionDesired: true}, fmt.Sprintf("host-%d.example.org", id), dnsmessage.TypeA)
}

func has(t testing.TB, id uint16) []byte {
	return about(t, dnsmessage.Header{ID: id, Response: true}, fmt.Sprintf("host-%d.example.org", id), dnsmessage.TypeA, &dnsmessage.AResource{A: [4]byte{192, 0, 2, byte(id)}})
}

// became is what a test checks of an event.
func became(e event.Event) string {
	d, _ := e.Body.(event.DNS)
	s := fmt.Sprintf("%s %s %s %s", d.Transport, d.Name, d.Type, d.Result())
	if d.Connection != nil {
		s += fmt.Sprintf(" (%s by %s)", d.Connection.How, d.Connection.By)
	}
	if d.Retry {
		s += " again"
	}
	return s
}

// outcomesOf runs the events of talks through a stage, and lets all time go by.
func outcomesOf(s *Stage, talks ...*talk) (all []string) {
	for _, k := range talks {
		for _, e := range k.events {
			for _, out := range s.Observe(e)[1:] {
				all = append(all, became(out))
			}
		}
		for _, e := range s.Flush(k.now, false) {
			all = append(all, became(e))
		}
	}
	for _, e := range s.Flush(start.Add(time.Minute), false) {
		all = append(all, became(e))
	}
	return all
}

func newTestStage() *Stage {
	return New(Options{Wait: 5 * time.Second, Slow: time.Second, Ports: []uint16{53}})
}

// talkCase is what both sides of a connection say, and what is to be said of its queries.
type talkCase struct {
	name string
	talk func(k *talk)
	want []string
}

// checkTalks checks what is reported of connections, over both families.
func checkTalks(t *testing.T, cases []talkCase) {
	t.Helper()
	for _, c := range cases {
		for _, ends := range [][2]string{{client, service}, {"[fd00::1]:4000", "[fd00:96::a]:53"}} {
			t.Run(c.name+" "+ends[1], func(t *testing.T) {
				k := newTalk(t, ends[0], ends[1])
				k.opens()
				c.talk(k)
				if got := outcomesOf(newTestStage(), k); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		}
	}
}

// answered is what is said of the queries of these ids that have an answer.
func answered(ids ...int) (all []string) {
	for _, id := range ids {
		all = append(all, fmt.Sprintf("tcp host-%d.example.org A NOERROR", id))
	}
	return all
}

func TestQueriesOverTCPAreReportedLikeOthers(t *testing.T) {
	checkTalks(t, []talkCase{
		{"one", func(k *talk) { k.says(true, framed(asks(t, 1))); k.says(false, framed(has(t, 1))) }, answered(1)},
		{"pipelined, in one segment", func(k *talk) {
			k.says(true, framed(asks(t, 1), asks(t, 2), asks(t, 3)))
			k.says(false, framed(has(t, 1), has(t, 2), has(t, 3)))
		}, answered(1, 2, 3)},
		{"answered out of order", func(k *talk) {
			k.says(true, framed(asks(t, 1), asks(t, 2)))
			k.says(false, framed(has(t, 2)))
			k.says(false, framed(has(t, 1)))
		}, answered(2, 1)},
		{"one after the other", func(k *talk) {
			for id := range uint16(3) {
				k.says(true, framed(asks(t, id)))
				k.says(false, framed(has(t, id)))
			}
		}, answered(0, 1, 2)},
	})
}

func TestMessagesOverTCPAreFoundInSegmentsAsTheyCome(t *testing.T) {
	checkTalks(t, []talkCase{
		{"a byte at a time", func(k *talk) {
			for i, data := range [][]byte{framed(asks(t, 1), asks(t, 2)), framed(has(t, 1), has(t, 2))} {
				for _, b := range data {
					k.says(i == 0, []byte{b})
				}
			}
		}, answered(1, 2)},
		{"segments in the wrong order, and twice", func(k *talk) {
			var segments []event.Event
			for part := range slices.Chunk(framed(asks(t, 1), asks(t, 2)), 7) {
				segments = append(segments, k.segment(true, packettest.ACK, k.up, part))
				k.up += uint32(len(part))
			}
			for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(2 * len(segments)) {
				k.add(segments[i%len(segments)])
			}
			k.says(false, framed(has(t, 1), has(t, 2)))
		}, answered(1, 2)},
		{"answers in the wrong order, and twice", func(k *talk) {
			k.says(true, framed(asks(t, 1), asks(t, 2)))
			var segments []event.Event
			for part := range slices.Chunk(framed(has(t, 1), has(t, 2)), 9) {
				segments = append(segments, k.segment(false, packettest.ACK, k.down, part))
				k.down += uint32(len(part))
			}
			for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(2 * len(segments)) {
				e := segments[i%len(segments)]
				e.Time = k.now
				k.add(e)
			}
		}, answered(1, 2)},
	})
}

func TestEndsOfConnectionsAreReportedAsWhatBecameOfTheirQueries(t *testing.T) {
	checkTalks(t, []talkCase{
		{"the server closes an idle connection", func(k *talk) {
			k.says(true, framed(asks(t, 1)))
			k.says(false, framed(has(t, 1)))
			k.closes(false)
			k.closes(true)
		}, answered(1)},
		{"half closed, then answered", func(k *talk) {
			k.says(true, framed(asks(t, 1)))
			k.closes(true)
			k.says(false, framed(has(t, 1)))
		}, answered(1)},
		{"an answer to nothing", func(k *talk) {
			k.says(true, framed(asks(t, 1)))
			k.says(false, framed(has(t, 9), asks(t, 1), has(t, 1), has(t, 1)))
		}, answered(1)},
		{"nothing is asked", func(k *talk) { k.closes(true); k.closes(false) }, nil},
		{"nothing is asked, reset", func(k *talk) { k.resets(false) }, nil},
		{"no answer", func(k *talk) { k.says(true, framed(asks(t, 1))) }, []string{"tcp host-1.example.org A no-response"}},
		{"closed by the server", func(k *talk) { k.says(true, framed(asks(t, 1))); k.closes(false) },
			[]string{"tcp host-1.example.org A no-response (closed by server)"}},
		{"reset by the server", func(k *talk) { k.says(true, framed(asks(t, 1), asks(t, 2))); k.resets(false) },
			[]string{"tcp host-1.example.org A no-response (reset by server)", "tcp host-2.example.org A no-response (reset by server)"}},
		{"the client gives up", func(k *talk) { k.says(true, framed(asks(t, 1))); k.closes(true) },
			[]string{"tcp host-1.example.org A no-response (closed by client)"}},
		{"no DNS", func(k *talk) {
			k.says(true, []byte("GET / HTTP/1.1\r\n\r\n"))
			k.says(false, []byte("HTTP/1.1 200 OK\r\n\r\n"))
		}, nil},
		{"TLS", func(k *talk) { k.says(true, []byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 9, 9, 9, 9, 9, 9, 9, 9}) }, nil},
	})
}

// dropped is the loss of a packet.
func dropped(e event.Event) event.Event {
	e.Body = event.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow"}
	return e
}

func TestConnectionsThatFailAreReported(t *testing.T) {
	for _, c := range []struct {
		name string
		talk func(k *talk)
		want []string
	}{
		{"refused", func(k *talk) { k.syn(); k.resets(false) }, []string{"tcp   rejected refused (refused by server)"}},
		{"not answered", func(k *talk) { k.syn(); k.now = k.now.Add(time.Second); k.syn() }, []string{"tcp   no-response"}},
		{"answered by another way than past this node", func(k *talk) {
			k.syn()
			k.events[0].Direction = event.In
		}, nil},
		{"not answered, of a client elsewhere", func(k *talk) {
			k.syn()
			k.now = k.now.Add(time.Second)
			k.syn()
			k.events[0].Direction, k.events[1].Direction = event.In, event.In
		}, []string{"tcp   no-response"}},
		{"dropped", func(k *talk) { k.syn(); k.add(dropped(k.segment(true, packettest.SYN, k.up-1, nil))) }, []string{"tcp   dropped NETFILTER_DROP"}},
		{"dropped before any device", func(k *talk) { k.add(dropped(k.segment(true, packettest.SYN, k.up-1, nil))) }, []string{"tcp   dropped NETFILTER_DROP"}},
		{"dropped once", func(k *talk) { k.add(dropped(k.segment(true, packettest.SYN, k.up-1, nil))); k.opens() }, nil},
		{"its answer dropped", func(k *talk) { k.syn(); k.add(dropped(k.segment(false, packettest.SYN|packettest.ACK, k.down-1, nil))) },
			[]string{"tcp   dropped NETFILTER_DROP"}},
		{"rejected", func(k *talk) {
			k.syn()
			syn := k.events[0].Packet.Bytes
			e := seen(3, 5, podNetns, event.In, unreachable(t, syn, 3))
			k.add(e)
		}, []string{"tcp   rejected port-unreachable"}},
		{"the query dropped", func(k *talk) {
			k.opens()
			k.says(true, framed(asks(t, 1)))
			k.add(dropped(k.events[2]))
		}, []string{"tcp host-1.example.org A dropped NETFILTER_DROP"}},
		{"the query dropped once", func(k *talk) {
			k.opens()
			k.says(true, framed(asks(t, 1)))
			k.add(dropped(k.events[2]))
			k.add(k.events[2])
			k.says(false, framed(has(t, 1)))
		}, []string{"tcp host-1.example.org A NOERROR"}},
		{"another connection of the same ends", func(k *talk) {
			k.syn()
			k.resets(false)
			k.up += 12345
			k.opens()
			k.says(true, framed(asks(t, 1)))
			k.says(false, framed(has(t, 1)))
		}, []string{"tcp host-1.example.org A NOERROR", "tcp   rejected refused (refused by server)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newTalk(t, client, service)
			c.talk(k)
			if got := outcomesOf(newTestStage(), k); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAfterACutAnswerTheQuestionOverTCPIsKnown(t *testing.T) {
	query := pack(t, dnsmessage.Header{ID: 7})
	cut := pack(t, dnsmessage.Header{ID: 7, Response: true, Truncated: true})
	whole := pack(t, dnsmessage.Header{ID: 8, Response: true})
	for name, want := range map[string]string{"answered": "tcp web.example.org A NODATA again", "refused": "tcp web.example.org A rejected refused (refused by server) again"} {
		t.Run(name, func(t *testing.T) {
			k := newTalk(t, client, service)
			k.add(seen(0, 1, podNetns, event.Out, udp(client, service, query)))
			k.add(seen(1, 2, podNetns, event.In, udp(service, client, cut)))
			k.syn()
			if name == "refused" {
				k.resets(false)
			} else {
				k.add(k.segment(false, packettest.SYN|packettest.ACK, k.down-1, nil))
				k.says(true, framed(pack(t, dnsmessage.Header{ID: 8})))
				k.says(false, framed(whole))
			}
			s := newTestStage()
			if got := outcomesOf(s, k); !slices.Equal(got, []string{"udp web.example.org A truncated", want}) {
				t.Errorf("got %q, want %q", got, want)
			}
			if sum := s.total.summary(); sum.Retried != map[bool]uint64{true: 1}[name == "answered"] || sum.Queries != 2 {
				t.Errorf("%+v", sum)
			}
		})
	}
}

func TestConnectionsAreFollowedThroughTranslation(t *testing.T) {
	const backend = "10.9.0.2:5353"
	entry := event.NewConntrack(packet.FlowTuple{Src: netip.MustParseAddrPort(client), Dst: netip.MustParseAddrPort(service)},
		packet.FlowTuple{Src: netip.MustParseAddrPort(backend), Dst: netip.MustParseAddrPort(client)})
	for _, how := range []string{"conntrack", "sequence numbers", "the beginning not seen"} {
		t.Run(how, func(t *testing.T) {
			k := newTalk(t, client, service)
			there := newTalk(t, client, backend) // what the server's socket knows
			there.netns = nodeNetns
			if how != "the beginning not seen" {
				k.syn()
				e := there.segment(true, packettest.SYN, k.up-1, nil)
				if how == "conntrack" {
					e.Body = event.Hop{Conntrack: entry}
				}
				k.add(e)
				k.add(k.segment(false, packettest.SYN|packettest.ACK, k.down-1, nil))
			}
			for id := range uint16(3) {
				both := func(up bool, data []byte, seq *uint32) {
					here, far := k.segment(up, packettest.ACK, *seq, data), there.segment(up, packettest.ACK, *seq, data)
					far.Direction = map[bool]event.Direction{true: event.In, false: event.Out}[up]
					if up {
						k.add(here)
					}
					far.Time = k.now
					k.add(far)
					if here.Time = k.now; !up {
						k.add(here)
					}
					*seq += uint32(len(data))
				}
				both(true, framed(asks(t, id)), &k.up)
				both(false, framed(has(t, id)), &k.down)
			}
			s := newTestStage()
			n := 0
			for _, e := range transactions(s, k.events) {
				n++
				d, _ := e.Body.(event.DNS)
				if d.Outcome != event.DNSAnswered || d.Server.String() != service || d.Backend.String() != backend || d.Latency != 3*time.Millisecond || d.Beyond != time.Millisecond {
					t.Errorf("got %+v", d)
				}
			}
			if n != 3 {
				t.Errorf("%d queries, want 3", n)
			}
		})
	}
}

func TestATransferIsOneAnswer(t *testing.T) {
	soa := &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns.example.org."), MBox: dnsmessage.MustNewName("root.example.org.")}
	record := &dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 200)}}
	const axfr = dnsmessage.Type(252)
	head := dnsmessage.Header{ID: 1, Response: true, Authoritative: true}
	k := newTalk(t, client, service)
	k.opens()
	k.says(true, framed(about(t, dnsmessage.Header{ID: 1}, "example.org", axfr)))
	first := framed(about(t, head, "example.org", axfr, soa, record))
	k.says(false, first)
	size := len(first)
	for range 50 {
		m := dnsmessage.Message{Header: head}
		for range 80 {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("example.org."), Class: dnsmessage.ClassINET}, Body: record})
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		size += len(framed(b))
		for part := range slices.Chunk(framed(b), 1460) {
			k.says(false, part)
		}
	}
	ended := k.now
	k.now = k.now.Add(3 * time.Second)
	got := transactions(newTestStage(), k.events)
	if len(got) != 1 {
		t.Fatalf("%d events", len(got))
	}
	d, _ := got[0].Body.(event.DNS)
	if d.Result() != "NOERROR" || d.LeftOut+len(d.Answers) != 2+50*80 || int(d.Size) != size-51*lengthSize || d.Latency != ended.Sub(got[0].Time)-time.Millisecond {
		t.Errorf("%s, %d bytes of %d, after %v", d.Result(), d.Size, size, d.Latency)
	}
}

// TestConnectionsAreTakenUpInTheMiddle: their beginning was not seen, or bytes are missing.
func TestConnectionsAreTakenUpInTheMiddle(t *testing.T) {
	t.Run("from a message on", func(t *testing.T) {
		k := newTalk(t, client, service)
		k.says(true, framed(asks(t, 1))[20:])
		k.says(false, framed(has(t, 1))[3:])
		for id := uint16(2); id < 5; id++ {
			k.says(true, framed(asks(t, id)))
			k.says(false, framed(has(t, id)))
		}
		if got := outcomesOf(newTestStage(), k); len(got) != 3 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("the length is sent alone", func(t *testing.T) {
		k := newTalk(t, client, service)
		for id := range uint16(3) {
			k.says(true, framed(asks(t, id))[:2])
			k.says(true, asks(t, id))
			k.says(false, framed(has(t, id)))
		}
		if got := outcomesOf(newTestStage(), k); len(got) != 3 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("what was lost is not judged", func(t *testing.T) {
		k := newTalk(t, client, service)
		k.opens()
		k.says(true, framed(asks(t, 1)))
		k.down += uint32(len(framed(has(t, 1)))) // which is not reported
		k.says(true, framed(asks(t, 2)))
		k.says(false, framed(has(t, 2)))
		k.now = k.now.Add(2 * time.Second)
		s := newTestStage()
		if got := outcomesOf(s, k); !slices.Equal(got, []string{"tcp host-2.example.org A NOERROR"}) || s.total.unseen != 1 {
			t.Errorf("got %q, %d unseen", got, s.total.unseen)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	s := newTestStage()
	quiet := newTalk(t, "10.0.0.9:4000", service)
	quiet.opens()
	quiet.says(true, framed(asks(t, 1)))
	for _, e := range quiet.events {
		s.Observe(e)
	}
	for i := range maxConnections + maxConnections/4 {
		k := newTalk(t, fmt.Sprintf("10.0.0.1:%d", 1024+i), service)
		k.opens()
		k.says(true, framed(make([]byte, 60000))[:30000])
		k.up += 100
		k.says(true, make([]byte, 30000))
		for _, e := range k.events {
			s.Observe(e)
		}
		if len(s.tcp.list) > maxConnections || s.tcp.spanned > maxSpanned {
			t.Fatalf("%d connections, %d bytes", len(s.tcp.list), s.tcp.spanned)
		}
	}
	quiet.events = nil
	quiet.says(false, framed(has(t, 1)))
	if got := s.Observe(quiet.events[0])[1:]; len(got) != 1 {
		t.Error("another client's connections cost a quiet one its own")
	}
	s.Flush(start.Add(10*time.Minute), false)
	s.Flush(start.Add(20*time.Minute), false)
	if len(s.tcp.list)+len(s.tcp.byName)+s.tcp.spanned != 0 {
		t.Errorf("%d connections, %d names, %d bytes are kept of what is over", len(s.tcp.list), len(s.tcp.byName), s.tcp.spanned)
	}
}

// FuzzConnections takes what may be the data of both directions, cut anywhere.
func FuzzConnections(f *testing.F) {
	f.Add(framed(asks(f, 1), asks(f, 2)), framed(has(f, 2), has(f, 1)), 5, 7, true)
	f.Add([]byte{0, 12, 0, 1}, framed(has(f, 2)), 1, 1, false)
	f.Fuzz(func(t *testing.T, up, down []byte, cutUp, cutDown int, begun bool) {
		k := newTalk(t, client, service)
		if begun {
			k.opens()
		}
		up, down = up[:min(len(up), 1<<15)], down[:min(len(down), 1<<15)]
		for part := range slices.Chunk(up, 1+max(0, cutUp)%1460) {
			k.says(true, part)
		}
		for part := range slices.Chunk(down, 1+max(0, cutDown)%1460) {
			k.says(false, part)
		}
		if !begun { // in any order
			rand.New(rand.NewPCG(uint64(cutUp), uint64(cutDown))).Shuffle(len(k.events), func(i, j int) { k.events[i], k.events[j] = k.events[j], k.events[i] })
		}
		s := newTestStage()
		outcomesOf(s, k)
		s.Flush(start.Add(time.Hour), false)
		if s.tcp.spanned != 0 || len(s.tcp.list)+len(s.tcp.byName) != 0 {
			t.Errorf("%d bytes and %d connections are kept of what is over", s.tcp.spanned, len(s.tcp.list))
		}
	})
}
