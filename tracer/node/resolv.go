// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"time"

	"ktrace/decoder/event"
	"ktrace/tracer/procfs"
)

// Resolv is the decoder.Enricher that reads resolv.conf and the environment of processes that send packets. The kubelet
// writes the cluster's DNS service and others there, so they are known without the API.
type Resolv struct {
	node    *procfs.FS
	looks   map[uint32]look // by namespace
	conf    map[uint32]event.ResolvConf
	env     map[uint32][]event.ServiceFact
	reading map[uint32]chan contents // by a goroutine each
	wait    time.Duration            // for a read, while events do
	begun   bool
}

// look is when a namespace was looked at.
type look struct {
	last   time.Time // at the sender, or at any process
	walked time.Time // at all processes of the node, which costs milliseconds
	sender bool      // a process that sends was looked for
	read   bool      // a file was read
}

// NewResolv returns the witness.
func NewResolv(node *procfs.FS) *Resolv {
	return &Resolv{node: node, looks: map[uint32]look{}, conf: map[uint32]event.ResolvConf{}, env: map[uint32][]event.ServiceFact{}, reading: map[uint32]chan contents{}, wait: waitForRead}
}

const (
	resolvConf  = "etc/resolv.conf"
	maxResolv   = 64 << 10               // bytes that are read of a resolv.conf: it belongs to the container
	waitForRead = 100 * time.Millisecond // most files are read in a tenth of a millisecond; on a busy machine a goroutine waits for its turn
	maxReaders  = 8                      // processes of a namespace that are looked at: the first may be one that holds it open
	resolvEvery = 30 * time.Second       // before it is read again: it may change, and inode numbers of namespaces are reused
	retryEvery  = time.Second            // the same if it was not found, or does not name the server that was asked
	maxResolvs  = 4096                   // namespaces remembered
	portDNS     = 53
)

// Enrich implements decoder.Enricher: it looks for every namespace that sends a packet, and reports what is new. A file that is
// not read at once is reported with a later event. The first fact is what the kubelet is configured to write into the files of
// pods.
func (r *Resolv) Enrich(e event.Event) []event.Fact {
	facts := r.finished()
	if f, ok := e.Body.(event.Fact); ok {
		if inode, replaced := f.ReplacedNetns(); replaced {
			return append(facts, r.forget(inode)...)
		}
		return facts
	}
	if !r.begun {
		r.begun = true
		return append(append(facts, clusterDNS(r.node)...), r.Enrich(e)...)
	}
	if _, ok := e.Body.(event.Hop); !ok || e.Direction != event.Out || r.reading[e.Netns] != nil || !r.due(e) {
		return facts
	}
	if len(r.looks) >= maxResolvs {
		clear(r.looks)
		clear(r.conf)
		clear(r.env)
	}
	return append(facts, r.start(e)...)
}

// start begins to read the files of the sender's namespace, and takes what is read at once.
func (r *Resolv) start(e event.Event) []event.Fact {
	sender, walk := r.sender(e), time.Since(r.looks[e.Netns].walked) >= retryEvery
	done := make(chan contents, 1)
	go func() { done <- r.read(sender, e.Netns, walk) }()
	l := r.looks[e.Netns]
	l.last, l.sender = time.Now(), l.sender || e.PID != 0
	r.looks[e.Netns] = l
	soon := time.NewTimer(r.wait)
	defer soon.Stop()
	select {
	case c := <-done:
		return r.take(e.Netns, c)
	case <-soon.C:
		r.reading[e.Netns] = done
		return nil
	}
}

// finished takes what was read meanwhile.
func (r *Resolv) finished() []event.Fact {
	var facts []event.Fact
	for inode, done := range r.reading {
		select {
		case c := <-done:
			delete(r.reading, inode)
			facts = append(facts, r.take(inode, c)...)
		default:
		}
	}
	return facts
}

// take reports what is new in the files of a namespace.
func (r *Resolv) take(inode uint32, c contents) []event.Fact {
	l := r.looks[inode]
	l.read = l.read || c.read
	if c.walked {
		l.walked = time.Now()
	}
	r.looks[inode] = l
	var facts []event.Fact
	if c.found {
		facts = r.resolv(c.conf, inode, c.ofRoot)
	}
	if len(c.env) > 0 {
		facts = append(facts, r.services(c.env, inode)...)
	}
	return facts
}

// contents are what the files of a namespace's processes hold.
type contents struct {
	conf   []byte
	found  bool // a resolv.conf was read
	ofRoot bool // it belongs to root
	read   bool // it was, or need not be tried again soon
	walked bool // all processes of the node were looked at
	env    []event.ServiceFact
}

// read reads, in the files of the sender, or else of other processes in its namespace. It changes nothing of r.
func (r *Resolv) read(sender []procfs.Process, inode uint32, walk bool) (c contents) {
	processes := sender
	c.readConf(processes)
	if !c.read && walk { // the sender is not known, or has ended meanwhile
		processes, c.walked = r.processes(inode), true
		c.readConf(processes)
	}
	for _, p := range processes {
		if c.env = environ(p, inode); len(c.env) > 0 {
			break
		}
	}
	return c
}

// forget drops what was read for the namespace that had an inode number before, and withdraws its services.
func (r *Resolv) forget(inode uint32) []event.Fact {
	facts := r.services(nil, inode)
	if conf, ok := r.conf[inode]; ok && conf.Cluster() {
		facts = append(facts, dnsService(conf, true))
	}
	delete(r.reading, inode) // whose goroutine ends by itself
	delete(r.looks, inode)
	delete(r.conf, inode)
	delete(r.env, inode)
	return facts
}

// dnsService is the DNS service that a resolv.conf names.
func dnsService(conf event.ResolvConf, gone bool) event.Fact {
	return event.Fact{Service: &event.ServiceFact{
		Source: "resolv", Netns: conf.Netns, Addrs: conf.Nameservers, Gone: gone,
		Ports: []event.ServicePort{{Name: "dns", Proto: "udp", Port: 53}, {Name: "dns-tcp", Proto: "tcp", Port: 53}},
	}}
}

// due reports whether it is time to read: at the first packet, and at the first that a process sends, for there may be no
// process yet when the kernel sends its own.
func (r *Resolv) due(e event.Event) bool {
	l, age := r.looks[e.Netns], time.Since(r.looks[e.Netns].last)
	switch {
	case age >= resolvEvery:
		return true
	case !l.read:
		return e.PID != 0 && !l.sender || age >= retryEvery
	}
	return age >= retryEvery && r.asksAnother(e)
}

// asksAnother reports whether a query goes to a server that the file does not name: the file has changed, or was another
// container's, or not yet mounted when it was read.
func (r *Resolv) asksAnother(e event.Event) bool {
	return e.PID != 0 && e.Packet != nil && e.Packet.Dport == portDNS && !slices.Contains(r.conf[e.Netns].Nameservers, e.Packet.Dst)
}

// readConf reads the first resolv.conf that there is. Where a file system does not answer no other is tried: they may be
// of the same pod.
func (c *contents) readConf(processes []procfs.Process) {
	for _, p := range processes {
		text, owner, err := p.ReadFile(resolvConf, maxResolv)
		switch {
		case err == nil, errors.Is(err, procfs.ErrTooLarge):
			c.conf, c.found, c.read, c.ofRoot = text, true, true, owner == 0
			return
		case errors.Is(err, procfs.ErrSlow):
			c.read = true
			return
		}
	}
}

// resolv reports what a resolv.conf says, if that is new. The kubelet's belong to root: what another user wrote, in a container
// or namespaces of his own, names no service.
func (r *Resolv) resolv(text []byte, netns uint32, ofRoot bool) []event.Fact {
	conf := event.ParseResolv(bytes.NewReader(text))
	conf.Netns = netns
	if reflect.DeepEqual(conf, r.conf[netns]) {
		return nil
	}
	r.conf[netns] = conf
	facts := []event.Fact{{Resolv: &conf}}
	if !conf.Cluster() || !ofRoot {
		return facts
	}
	return append(facts, dnsService(conf, false))
}

// environ reads the services that the environment of a process names.
func environ(p procfs.Process, netns uint32) []event.ServiceFact {
	text, err := p.Environ()
	if err != nil {
		return nil // the process has ended, or does not let its memory be read
	}
	all := event.ParseServiceEnv(text)
	for i := range all {
		all[i].Netns = netns
	}
	return all
}

// services reports those that an environment names, and those that it names no more, if that is new.
func (r *Resolv) services(now []event.ServiceFact, netns uint32) []event.Fact {
	before := r.env[netns]
	if reflect.DeepEqual(now, before) {
		return nil
	}
	r.env[netns] = now
	var facts []event.Fact
	for _, f := range before {
		if !slices.ContainsFunc(now, func(g event.ServiceFact) bool { return g.Addrs[0] == f.Addrs[0] }) {
			f.Gone = true
			facts = append(facts, event.Fact{Service: &f})
		}
	}
	for _, f := range now {
		facts = append(facts, event.Fact{Service: &f})
	}
	return facts
}

// sender is the process that sends, none if it is not known, or if its files are not those of the namespace: a process
// that joined a pod's from the node, by nsenter or ip netns exec, has the node's.
func (r *Resolv) sender(e event.Event) []procfs.Process {
	p := r.node.Process(e.PID)
	if e.PID == 0 || r.fromNode(p, e.Netns) {
		return nil
	}
	return []procfs.Process{p}
}

// fromNode reports whether a process sees the node's files, or ours, in a network namespace that is not the node's.
func (r *Resolv) fromNode(p procfs.Process, inode uint32) bool {
	same := func(kind string, as procfs.Process, of uint32) bool {
		its, err := as.Namespace(kind)
		return err == nil && its == of
	}
	files, err := p.Namespace("mnt")
	if err != nil {
		return false
	}
	first, self := r.node.Process(1), r.node.Self()
	return (same("mnt", first, files) || same("mnt", self, files)) && !same("net", first, inode)
}

// processes are some in a namespace: last those that joined it from the node. One that only visits it, as this ktrace or another
// does to look around, has files of its own.
func (r *Resolv) processes(inode uint32) []procfs.Process {
	var own, joined []procfs.Process
	for p := range r.node.InNetns(inode) {
		switch {
		case !p.Dwells("net", inode):
		case r.fromNode(p, inode):
			joined = append(joined, p)
		default:
			own = append(own, p)
		}
		if len(own) >= maxReaders {
			break
		}
	}
	return append(own, joined...)
}
