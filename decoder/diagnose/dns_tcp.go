// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/event"
)

// shortestWait is how long a client must have waited before it closed the connection for that to be evidence against the
// server: resolvers wait for a second at least.
const shortestWait = 900 * time.Millisecond

// connectionEnded reports a query over TCP whose connection was refused, reset or closed before the answer came. ok is
// false if that says nothing of the server.
func (r *DNS) connectionEnded(e event.Event, d event.DNS) (f event.Finding, ok bool) {
	c := d.Connection
	switch {
	case c.By == event.ByClient:
		if c.Time.Sub(e.Time) < shortestWait {
			return f, false
		}
		f, ok = r.noResponse(e, d)
		f.Confidence = event.Likely // it may be slow
		f.Evidence = append(f.Evidence, fmt.Sprintf("the client closed the connection after %v without an answer", c.Time.Sub(e.Time).Round(time.Millisecond)))
		return f, ok
	case c.How == event.ConnectionRefused:
		f = notListening(d)
		f.Confidence = event.Likely // a firewall on the path can do the same
		f.Cause = "A reset came for the connection before it was established: the DNS process is not running there, or does not listen on TCP."
		f.Evidence = []string{c.String(), "query last seen " + place(d.Last)}
		return f, true
	}
	f, _ = r.noResponse(e, d)
	f.Confidence = event.Certain
	f.Title = fmt.Sprintf("The DNS server %v %s a connection instead of answering.", server(d), ended(c))
	f.Cause = "The server, or a middlebox in its name, ended the connection before the answer: the server was restarted, or its own upstream servers did not answer."
	f.Evidence = append(f.Evidence, c.String())
	if c.Reused { // RFC 7766, section 6.2.4: the client asks again
		f.Severity, f.Confidence = event.Info, event.Likely
		f.Cause = "The connection had been idle after earlier queries: the server closed it while the query was in flight. The client should ask again."
	}
	return f, true
}

func ended(c *event.DNSConnection) string {
	if c.How == event.ConnectionReset {
		return "resets"
	}
	return "closes"
}

// nonServers are the addresses to which clients connect at a server's port without a query, and which nothing else shows
// to be DNS servers.
type nonServers struct {
	met     bounded.Map[ends, bool]
	refused bounded.Map[ends, bool]
	count   bounded.Map[netip.Addr, int] // of a client
}

// maxNonServers is how many such addresses a client may try: one that tries more is a port scan.
const maxNonServers = 3

// isPortScan reports whether the client of a failed connection tries many addresses or ports.
func (r *DNS) isPortScan(e event.Event, d event.DNS) bool {
	conf, _ := r.state.resolvs.Get(d.ClientNetns)
	_, service := r.state.ServiceAt(d.ClientNetns, d.Transport, d.Server)
	served, _ := r.served.Get(d.Server)
	if !d.Unsent || service || served.answered > 0 || slices.Contains(conf.Nameservers, d.Server.Addr()) {
		return false
	}
	x, k := &r.nonServers, ends{e.Packet.Src, d.Server}
	if notListened(d) || d.Connection != nil && d.Connection.How == event.ConnectionRefused {
		_, again := x.refused.Get(k)
		x.refused.Put(k, true)
		// Nothing says that it was to be a query. The servers of a node's pods are known; of a capture, who tries again asks.
		return !again || r.state.node.Kernel != ""
	}
	n, _ := x.count.Get(k.client)
	if _, met := x.met.Get(k); !met {
		n++
		x.met.Put(k, true)
		x.count.Put(k.client, n)
	}
	return n > maxNonServers
}
