// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
)

// dnsModel is what was sent and what came of it: the fate of every query, by its name.
type dnsModel struct {
	mu    sync.Mutex
	fates map[string]*queryFate
}

type queryFate struct {
	sent     time.Time
	answered bool
}

// mute begins the names that the server does not answer.
const mute = "mute-"

// sender asks a server for names of its own, one after the other, at an even rate.
type sender struct {
	pod  *lab.Pod
	name string
	rate int // queries a second
	mute int // of so many queries one is not answered; 0: all are
}

// send asks for a while, and waits for the last answers.
func (s sender) send(t *testing.T, m *dnsModel, server string, during time.Duration) {
	var conn net.Conn
	s.pod.Do(func() {
		var err error
		if conn, err = net.Dial("udp", net.JoinHostPort(server, "53")); err != nil {
			t.Error(err)
		}
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	received := make(chan struct{})
	go func() {
		defer close(received)
		m.receive(conn)
	}()
	began := time.Now()
	n := 0
	for time.Since(began) < during {
		for due := int(time.Since(began).Seconds() * float64(s.rate)); n < due; n++ {
			name := fmt.Sprintf("q%d.%s.test", n, s.name)
			if s.mute > 0 && n%s.mute == 0 {
				name = mute + name
			}
			m.sends(name)
			if _, err := conn.Write(dnsQuery(t, uint16(n), name)); err != nil {
				t.Error(err)
				return
			}
		}
		time.Sleep(time.Millisecond) // the rate's own
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Error(err)
	}
	<-received
}

func (m *dnsModel) sends(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fates[name] = &queryFate{sent: time.Now()}
}

// receive takes in answers until none comes any more.
func (m *dnsModel) receive(conn net.Conn) {
	buf := make([]byte, 1500)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		name := dnsNameOf(buf[:n])
		m.mu.Lock()
		if f := m.fates[name]; f != nil {
			f.answered = true
		}
		m.mu.Unlock()
	}
}

// dnsQuery is the message that asks for a name's address.
func dnsQuery(t *testing.T, id uint16, name string) []byte {
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	raw, err := q.Pack()
	if err != nil {
		t.Error(err)
	}
	return raw
}

// dnsNameOf is the name that a message asks for, "" if it is none.
func dnsNameOf(raw []byte) string {
	var p dnsmessage.Parser
	if _, err := p.Start(raw); err != nil {
		return ""
	}
	q, err := p.Question()
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(q.Name.String(), ".")
}

// answerOrNot serves DNS: every name exists and has no address, but the mute ones get no answer.
func answerOrNot(at net.PacketConn, from net.Addr, query []byte) {
	const response, questions = 0x80, 12
	if len(query) > questions+len(mute) && string(query[questions+1:questions+1+len(mute)]) == mute {
		return
	}
	query[2] |= response
	binary.BigEndian.PutUint16(query[8:], 0)
	_, _ = at.WriteTo(query, from) // a client that is gone has its answer
}

// claim is what ktrace said of a query.
type claim struct {
	DNS struct {
		Name    string `json:"qname"`
		Outcome string `json:"outcome"`
	} `json:"dns"`
}

// deny holds what ktrace said of queries against the model, and returns what it said of each.
func (m *dnsModel) deny(t *testing.T, lines []lab.Line) (outcomes map[string]string) {
	t.Helper()
	outcomes = map[string]string{}
	count := map[string]int{}
	for _, l := range lab.Events(lines, "dns") {
		var c claim
		l.Into(t, &c)
		f, said := m.fates[c.DNS.Name], c.DNS.Outcome
		if f == nil {
			continue
		}
		outcomes[c.DNS.Name] = said
		count[said]++
		if said == "unknown" || said == "answered" == f.answered {
			continue
		}
		if said == "dropped" || said == "answered" && !strings.HasPrefix(c.DNS.Name, mute) {
			continue // the answer came to the client, whose buffer was full
		}
		t.Errorf("%s is said to be %s; answered: %v", c.DNS.Name, said, f.answered)
	}
	t.Logf("%d sent; said of them: %v", len(m.fates), count)
	return outcomes
}

// denyFindings holds the findings about missing answers against the model: none is of a client that was answered everything, unless it says
// itself that records were lost.
func (m *dnsModel) denyFindings(t *testing.T, lines []lab.Line, answered ...*lab.Pod) {
	t.Helper()
	for _, l := range lab.Findings(lines) {
		var f struct {
			ID, Confidence string
			Evidence       []string
		}
		l.Into(t, &f)
		if f.Confidence == "possible" && strings.Contains(f.Evidence[0], "records were lost") || !strings.HasPrefix(f.ID, "dns-") {
			continue
		}
		for _, p := range answered {
			if strings.Contains(string(l.Raw), `"`+p.Addr+`"`) {
				t.Errorf("every query of %s was answered: %s", p.Addr, l.Raw)
			}
		}
	}
}

// underLoss is a run of ktrace that cannot keep up.
type underLoss struct {
	name    string
	network int
	rate    int // of the pod that asks most, queries a second
	during  time.Duration
	args    []string
	// meanwhile, if there is one, is what is done to ktrace while the pods ask. It ends before the run does.
	meanwhile func(*testing.T, *lab.Run)
	whole     bool // nothing is lost
	lossy     bool // something is
}

// check runs ktrace while one pod asks much and another little, and holds what it says against the model, live and from the recording.
func (u underLoss) check(t *testing.T) {
	c := lab.NewClusterAt(t, u.network)
	server, _ := lab.ServerAt(u.network)
	c.Server.ServeUDP(net.JoinHostPort(server, "53"), answerOrNot)
	loud, calm := c.AddPod("loud"), c.AddPod("calm")
	m := &dnsModel{fates: map[string]*queryFate{}}
	file := filepath.Join(t.TempDir(), "x.rec")
	run := lab.Ktrace(t, append([]string{"dns", "--wait", "1s", "--record", file, "udp and host " + server}, u.args...)...)
	var all sync.WaitGroup
	for _, s := range []sender{{loud, "loud", u.rate, u.rate / 10}, {calm, "calm", 40, 0}} {
		all.Go(func() { s.send(t, m, server, u.during) })
	}
	if u.meanwhile != nil {
		u.meanwhile(t, run)
	}
	all.Wait()
	awaitLast(run, loud, server)
	lines := run.Stop()
	outcomes := m.deny(t, lines)
	m.denyFindings(t, lines, calm)
	again := lab.StartKtrace(t, "read", file, "dns", "--wait", "1s", "-o", "json")
	recorded, _ := again.Wait()
	if offline := m.deny(t, recorded); !maps.Equal(offline, outcomes) {
		t.Errorf("live %d outcomes, of the recording %d, or others", len(outcomes), len(offline))
	}
	u.checkLoss(t, lines, run.Stderr(), len(m.fates), outcomes)
}

// awaitLast has a pod ask, until one query has its outcome: then all those before have theirs. While the ring is full they are lost.
func awaitLast(run *lab.Run, p *lab.Pod, server string) {
	const last = mute + "last.test"
	known := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			_, _ = p.Try("dig", "+tries=1", "+time=1", "@"+server, last, "A") // which takes a second
			select {
			case <-known:
				return
			default:
			}
		}
	})
	run.Await("the last outcome", func(l lab.Line) bool { return strings.Contains(string(l.Raw), last) })
	close(known)
	asking.Wait()
}

// checkLoss checks that what was lost is said at once and at the end; and, where nothing was, that all is known.
func (u underLoss) checkLoss(t *testing.T, lines []lab.Line, said string, sent int, outcomes map[string]string) {
	t.Helper()
	var b accounts
	lab.Summary(t, lines).Into(t, &b)
	lost := b.Lost.Ring > 0
	if lost && u.whole || !lost && u.lossy || strings.Contains(said, "records were lost") != lost {
		t.Errorf("%d records lost, said %q", b.Lost.Ring, said)
	}
	if b.Shown+b.Filtered+b.Lost.Ring+b.Lost.Map+b.Lost.Userspace != b.Seen {
		t.Errorf("%+v does not add up", b)
	}
	if !u.whole { // at a high rate some queries are not waited for, which is counted as evicted
		return
	}
	if len(outcomes) != sent {
		t.Errorf("%d queries were sent, %d are known", sent, len(outcomes))
	}
	for name, o := range outcomes {
		if want := map[bool]string{true: "no-response", false: "answered"}[strings.HasPrefix(name, mute)]; o != want {
			t.Errorf("%s: %s, and nothing was lost", name, o)
		}
	}
}

// stopped is a ktrace that the kernel does not let run for a while.
func stopped(d time.Duration) func(*testing.T, *lab.Run) {
	return func(_ *testing.T, r *lab.Run) {
		time.Sleep(d / 2) // so long it runs, of the time that the pods ask
		r.Pause()
		time.Sleep(d) // which is the fault
		r.Resume()
	}
}

// slowDisk reads what is written to a pipe, as a disk that takes so much a second, until it is closed.
func slowDisk(t *testing.T, pipe string, perSecond int) {
	file, err := os.OpenFile(pipe, os.O_RDWR, 0) // and does not wait for a writer
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, perSecond/100)
		for {
			if _, err := file.Read(buf); err != nil {
				return
			}
			time.Sleep(time.Second / 100) // which makes the disk slow
		}
	}()
	t.Cleanup(func() { file.Close() })
}

// pipeAt makes a pipe, with room for a page.
func pipeAt(t *testing.T) string {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	return pipe
}

// TestNothingIsConcludedFromLoss has a pod ask for more than ktrace takes beside one that asks little: what is said of both is so.
func TestNothingIsConcludedFromLoss(t *testing.T) {
	t.Parallel()
	disk := pipeAt(t)
	slowDisk(t, disk, 200_000)
	for _, u := range []underLoss{
		{name: "nothing is lost", network: networkOfLoss, rate: 300, during: time.Second, whole: true},
		{name: "a ring of one page", network: networkOfLoss + 1, rate: 300, during: time.Second, args: []string{"--ring-bytes", "4096"}, lossy: true},
		{name: "stopped", network: networkOfLoss + 2, rate: 300, during: 2 * time.Second, args: []string{"--ring-bytes", "65536"}, meanwhile: stopped(time.Second), lossy: true},
		{name: "a slow disk", network: networkOfLoss + 3, rate: 300, during: time.Second, args: []string{"--ring-bytes", "4096", "-w", disk}, lossy: true},
	} {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			u.check(t)
		})
	}
}

// TestNothingIsConcludedFromLossAtFullSpeed is the same at rates below, at and far above what ktrace takes.
func TestNothingIsConcludedFromLossAtFullSpeed(t *testing.T) {
	if os.Getenv("KTRACE_SOAK") == "" {
		t.Skip("KTRACE_SOAK is not set: it takes the whole machine for minutes")
	}
	for i, rate := range []int{500, 5_000, 20_000} {
		for j, u := range []underLoss{
			{name: "as it is"},
			{name: "stopped for 5 s", meanwhile: stopped(5 * time.Second)},
			{name: "a ring of one page", args: []string{"--ring-bytes", "4096"}},
			// The ring is as small as what such a disk takes in some seconds: what waits in it is known that much later.
			{name: "a slow disk", args: []string{"-w", pipeAt(t), "--ring-bytes", "262144"}},
		} {
			u.rate, u.during, u.network = rate, 10*time.Second, networkOfLoss+i*4+j
			t.Run(fmt.Sprintf("%d/s %s", rate, u.name), func(t *testing.T) {
				if n := len(u.args); n > 0 && u.args[0] == "-w" {
					slowDisk(t, u.args[1], 1_000_000)
				}
				u.check(t)
			})
		}
	}
}
