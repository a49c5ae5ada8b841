// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"ktrace/decoder/event"
	trace "ktrace/decoder/tls"
)

// Certificates asks servers for their certificates, where a client ended a handshake and they were encrypted: by a
// handshake of its own, from the same network namespace, for the same name, as people do with openssl s_client. Nothing
// is sent after it. Who makes handshakes and ends them chooses the servers, so those are asked seldom, few at a time, and
// some not at all. It is a decoder.Enricher, and not safe for concurrent use.
type Certificates struct {
	o       *Reader
	tracker *trace.Tracker
	servers servers
	asked   map[inquired]time.Time
	running map[uint32]int // by network namespace
	answers chan event.Certificates
	ctx     context.Context // of all inquiries
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// inquired is a server's host, whatever it was asked for and at which port.
type inquired struct {
	addr  netip.Addr
	netns uint32 // of a loopback address; else 0
}

const (
	askAgain    = time.Minute     // the same host is asked no more often
	askFor      = 2 * time.Second // connection, handshake and end together
	maxAsking   = 8               // hosts at a time
	maxAskingOf = 4               // for clients of one namespace
	maxServers  = 256             // hosts asked in askAgain
)

// NewCertificates returns one that finds namespaces by the Reader. any says that the user asked for it, so that the node's own
// servers, those at link-local addresses and those of the control plane are asked, too.
func NewCertificates(o *Reader, any bool) *Certificates {
	ctx, cancel := context.WithCancel(context.Background())
	return &Certificates{
		o: o, tracker: trace.NewTracker(), servers: newServers(o, any), asked: map[inquired]time.Time{},
		running: map[uint32]int{}, answers: make(chan event.Certificates, maxAsking), ctx: ctx, cancel: cancel,
	}
}

// Enrich implements decoder.Enricher.
func (w *Certificates) Enrich(e event.Event) []event.Fact {
	facts := w.answered()
	if f, ok := e.Body.(event.Fact); ok {
		w.o.finder.Learn(f)
		w.servers.learn(f)
	}
	ended, _ := w.tracker.Observe(e)
	w.tracker.Flush(e.Time)
	if ended == nil || !ended.Unexplained() || ended.Guessed || !w.mayAsk(ended.Server, e.Netns, time.Now()) {
		return facts
	}
	return append(facts, w.ask(e.Netns, ended.Server, ended.Name))
}

// mayAsk reports whether a server may be asked now, and notes that it is.
func (w *Certificates) mayAsk(server netip.AddrPort, netns uint32, now time.Time) bool {
	asking := 0
	for _, n := range w.running {
		asking += n
	}
	q := inquired{addr: server.Addr().Unmap()}
	if q.addr.IsLoopback() {
		q.netns = netns
	}
	if asking >= maxAsking || w.running[netns] >= maxAskingOf || now.Sub(w.asked[q]) < askAgain || !w.servers.may(server, netns) {
		return false
	}
	if len(w.asked) >= maxServers {
		w.forget(now)
	}
	if len(w.asked) >= maxServers {
		return false
	}
	w.asked[q] = now
	return true
}

// forget drops the hosts that may be asked again.
func (w *Certificates) forget(now time.Time) {
	for q, last := range w.asked {
		if now.Sub(last) >= askAgain {
			delete(w.asked, q)
		}
	}
}

// answered takes the answers that have come.
func (w *Certificates) answered() []event.Fact {
	var facts []event.Fact
	for {
		select {
		case c := <-w.answers:
			if w.running[c.Netns]--; w.running[c.Netns] == 0 {
				delete(w.running, c.Netns)
			}
			facts = append(facts, event.Fact{Certificates: &c})
		default:
			return facts
		}
	}
}

// ask begins to ask. The fact that it returns goes before the first packet.
func (w *Certificates) ask(inode uint32, server netip.AddrPort, name string) event.Fact {
	c := event.Certificates{Netns: inode, Server: server, Name: name}
	handle, err := w.o.open(inode)
	if err != nil {
		c.Failed = err.Error()
		return event.Fact{Certificates: &c}
	}
	i := inquiry{handle: handle, about: c, bound: make(chan uint16, 1)}
	w.running[inode]++
	w.done.Go(func() { w.answers <- i.run(w.ctx) })
	c.Port = <-i.bound
	return event.Fact{Certificates: &c}
}

// Close ends what is being asked.
func (w *Certificates) Close() error {
	w.cancel()
	w.done.Wait()
	return nil
}
