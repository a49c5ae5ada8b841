// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
	"ktrace/decoder/packet"
)

// Sockets is the rule for sockets that cannot take what arrives: full accept queues and full receive buffers. It
// wants event.Sock, and the facts about sockets that these raise.
type Sockets struct {
	state  *State
	owners bounded.Map[event.LookupKey, event.Socket]
}

// NewSockets returns the rule; state must be asked before it.
func NewSockets(state *State) *Sockets { return &Sockets{state: state} }

// Observe implements stage.Rule.
func (r *Sockets) Observe(e event.Event) []event.Finding {
	switch b := e.Body.(type) {
	case event.Fact:
		r.learn(b)
	case event.Sock:
		return r.sock(e, b)
	}
	return nil
}

func (r *Sockets) learn(f event.Fact) {
	if inode, ok := f.ReplacedNetns(); ok {
		r.owners.DeleteFunc(func(k event.LookupKey) bool { return k.Netns == inode })
	}
	if f.Socket != nil && f.Socket.PID != 0 {
		r.owners.Put(f.Socket.About, *f.Socket)
	}
}

func (r *Sockets) sock(e event.Event, s event.Sock) []event.Finding {
	if owner, ok := r.owners.Get(event.KeyOf(e)); ok && e.PID == 0 {
		e.PID, e.Comm = owner.PID, owner.Comm
	}
	f := event.Finding{Time: e.Time, First: e.Time, Last: e.Time, Count: uint64(s.Count), Confidence: event.Certain}.Of(e)
	f.Peer, f.Pod = e.Ends() // the packet goes to the socket
	switch {
	case s.Op == event.SockBufferFull:
		r.state.bufferFull(&f, s)
	case s.Op == event.SockSynLost, s.Op == event.SockSynackRetransmit && s.Backlog > s.Limit:
		r.state.queueFull(&f, s, end(f.Pod, s.Local))
	default:
		return nil
	}
	if e.PID != 0 {
		f.Evidence = append(f.Evidence, "the socket is of process "+e.Process().String())
	}
	return []event.Finding{f}
}

// Flush implements stage.Rule.
func (r *Sockets) Flush(time.Time, bool) []event.Finding { return nil }

func (st *State) bufferFull(f *event.Finding, s event.Sock) {
	f.ID, f.Subject = "socket-buffer-full", fmt.Sprintf("%s %v", s.Proto, s.Local)
	f.Title = fmt.Sprintf("The receive buffer of %s %s is full: its process does not read fast enough.", s.Proto, end(f.Pod, s.Local))
	f.Cause = "Packets arrived for the socket and were dropped because unread data filled its receive buffer."
	f.Evidence = []string{fmt.Sprintf("%d of %d bytes of the buffer in use (net.core.rmem_default, SO_RCVBUF)", s.Queued, s.Buffer)}
	if s.Inode != 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("socket:[%d]", s.Inode))
	}
	f.Remedy = []event.Remedy{
		sockets("anpm", s.Proto, s.Local.Port()).In(st.enter(f.About.Netns)).Noting("who, how much is queued, drops"),
		do("give the process more CPU, or a larger buffer: SO_RCVBUF, net.core.rmem_max, net.core.rmem_default"),
	}
	if s.ForgedBy != "" {
		f.Confidence = event.Likely
		f.Title = fmt.Sprintf("The receive buffer of %s %s is full: %s floods it in the name of %s.", s.Proto, end(f.Pod, s.Local), s.ForgedBy, packet.FormatAddrPort(s.Remote))
		f.Remedy = withoutRaw(f.Remedy[0])
	}
}

// sockets shows those of a protocol at a port, with more options of ss(8).
func sockets(options line, proto string, port uint16) event.Remedy {
	of, ok := map[string]line{"tcp": "ss -t", "udp": "ss -u"}[proto]
	if !ok {
		of = "ss -w"
	}
	return run(of+options+" %v", fmt.Sprintf("sport = :%d", port))
}

// queueFull fills a finding about a listener.
func (st *State) queueFull(f *event.Finding, s event.Sock, who string) {
	f.ID, f.Subject = "accept-queue-full", s.Local.String()
	f.Title = fmt.Sprintf("%s does not accept fast enough: its accept queue has %d connections, the limit is %d.", who, s.Backlog, s.Limit)
	if s.Backlog <= s.Limit { // by now
		f.Title = fmt.Sprintf("%s does not accept fast enough: its accept queue of %d connections was full.", who, s.Limit)
	}
	f.Cause = "The accept queue of the listening socket is full, so the kernel drops new connections without an answer and clients retry after 1, 3, 7 s."
	f.Evidence = append(f.Evidence, fmt.Sprintf("accept queue %d, limit %d (the smaller of listen's backlog and net.core.somaxconn)", s.Backlog, s.Limit))
	f.Remedy = []event.Remedy{
		sockets("lnp", "tcp", s.Local.Port()).In(st.enter(f.About.Netns)).Noting("Recv-Q is the queue, Send-Q its limit"),
		do("find what holds the process up; a larger backlog (listen, net.core.somaxconn) only helps against bursts"),
	}
}
