package node

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"ktrace/decoder"
	"ktrace/tracer/netns"
)

// Resolv is the decoder.Witness that reads the resolv.conf and the environment of those who ask. What kubelet writes there
// names the cluster's DNS service and others, so that they are known without the API.
type Resolv struct {
	root  string
	looks map[uint32]look // by namespace
	conf  map[uint32]decoder.ResolvConf
	env   map[uint32][]decoder.ServiceFact
}

// look is when a namespace was looked at.
type look struct {
	last   time.Time // at the sender, or at any process
	walked time.Time // at all processes of the node, which costs milliseconds
	sender bool      // a process that sends was looked for
	read   bool      // a file was read
}

// NewResolv returns the witness; root is where the node's file system is.
func NewResolv(root string) *Resolv {
	return &Resolv{root: root, looks: map[uint32]look{}, conf: map[uint32]decoder.ResolvConf{}, env: map[uint32][]decoder.ServiceFact{}}
}

const (
	maxResolv   = 64 << 10         // bytes that are read of a resolv.conf: it belongs to the container
	maxEnviron  = 256 << 10        // bytes that are read of an environment, which does, too
	maxReaders  = 8                // processes of a namespace that are looked at: the first may be one that holds it open
	resolvEvery = 30 * time.Second // looking for it again: it may have been mended, and namespaces' numbers are used again
	retryEvery  = time.Second      // the same after it was not found, or was not the one that the sender goes by
	maxResolvs  = 4096             // namespaces remembered
	portDNS     = 53
)

// About implements decoder.Witness: it looks for every namespace that sends a packet, and reports what is new.
func (r *Resolv) About(e decoder.Event) []decoder.Fact {
	if _, ok := e.Body.(decoder.Hop); !ok || e.Direction != decoder.Out || !r.due(e) {
		return nil
	}
	if len(r.looks) >= maxResolvs {
		clear(r.looks)
		clear(r.conf)
		clear(r.env)
	}
	processes := r.sender(e)
	facts, read := r.readConf(processes, e.Netns)
	if !read { // it is not known, or has ended meanwhile
		processes = r.processes(e)
		facts, read = r.readConf(processes, e.Netns)
	}
	l := r.looks[e.Netns]
	l.last, l.sender, l.read = time.Now(), l.sender || e.PID != 0, l.read || read
	r.looks[e.Netns] = l
	for _, dir := range processes {
		if services := environ(dir, e.Netns); len(services) > 0 {
			return append(facts, r.services(services, e.Netns)...)
		}
	}
	return facts
}

// due reports whether it is time to look: at once for the first packet, and for the first that a process sends if the
// kernel's own came before it, when there was no process yet.
func (r *Resolv) due(e decoder.Event) bool {
	l, age := r.looks[e.Netns], time.Since(r.looks[e.Netns].last)
	switch {
	case age >= resolvEvery:
		return true
	case !l.read:
		return e.PID != 0 && !l.sender || age >= retryEvery
	}
	return age >= retryEvery && r.asksAnother(e)
}

// asksAnother reports a query to a server that the file does not name: it has changed, or was another process's. Those
// of one pod may differ, and a container's is mounted after its first process is in the namespace.
func (r *Resolv) asksAnother(e decoder.Event) bool {
	return e.PID != 0 && e.Packet != nil && e.Packet.Dport == portDNS && !slices.Contains(r.conf[e.Netns].Nameservers, e.Packet.Dst)
}

// readConf reads the first resolv.conf that there is.
func (r *Resolv) readConf(processes []string, netns uint32) (facts []decoder.Fact, read bool) {
	for _, dir := range processes {
		if file, err := os.Open(filepath.Join(dir, "root/etc/resolv.conf")); err == nil {
			defer file.Close()
			return r.resolv(file, netns), true
		}
	}
	return nil, false
}

// resolv reports what a resolv.conf says, if that is new.
func (r *Resolv) resolv(file io.Reader, netns uint32) []decoder.Fact {
	conf := decoder.ParseResolv(io.LimitReader(file, maxResolv))
	conf.Netns = netns
	if reflect.DeepEqual(conf, r.conf[netns]) {
		return nil
	}
	r.conf[netns] = conf
	facts := []decoder.Fact{{Resolv: &conf}}
	if !conf.Cluster() {
		return facts
	}
	return append(facts, decoder.Fact{Service: &decoder.ServiceFact{
		Source: "resolv", Netns: netns, Addrs: conf.Nameservers,
		Ports: []decoder.ServicePort{{Name: "dns", Proto: "udp", Port: 53}, {Name: "dns-tcp", Proto: "tcp", Port: 53}},
	}})
}

// environ reads the services that the environment of a process names.
func environ(dir string, netns uint32) []decoder.ServiceFact {
	file, err := os.Open(filepath.Join(dir, "environ"))
	if err != nil {
		return nil
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxEnviron))
	if err != nil {
		return nil // the process has ended
	}
	all := decoder.ParseServiceEnv(string(text))
	for i := range all {
		all[i].Netns = netns
	}
	return all
}

// services reports those that an environment names, and those that it names no more, if that is new.
func (r *Resolv) services(now []decoder.ServiceFact, netns uint32) []decoder.Fact {
	before := r.env[netns]
	if reflect.DeepEqual(now, before) {
		return nil
	}
	r.env[netns] = now
	var facts []decoder.Fact
	for _, f := range before {
		if !slices.ContainsFunc(now, func(g decoder.ServiceFact) bool { return g.Addrs[0] == f.Addrs[0] }) {
			f.Gone = true
			facts = append(facts, decoder.Fact{Service: &f})
		}
	}
	for _, f := range now {
		facts = append(facts, decoder.Fact{Service: &f})
	}
	return facts
}

// sender is the directory of the process that sends, none if it is not known, or if its files are not those of the
// namespace: who joins a pod's from the node, as nsenter or ip netns exec, has the node's.
func (r *Resolv) sender(e decoder.Event) []string {
	proc := netns.Proc(r.root)
	dir := filepath.Join(proc, fmt.Sprint(e.PID))
	if e.PID == 0 || fromNode(proc, dir, e.Netns) {
		return nil
	}
	return []string{dir}
}

// fromNode reports whether a process sees the node's files in a network namespace that is not the node's.
func fromNode(proc, dir string, inode uint32) bool {
	same := func(what string, of uint32) bool {
		nodes, err := netns.Inode(filepath.Join(proc, "1/ns", what))
		return err == nil && nodes == of
	}
	files, err := netns.Inode(filepath.Join(dir, "ns/mnt"))
	return err == nil && same("mnt", files) && !same("net", inode)
}

// processes are the directories of some in the namespace of who sends: last those that joined it from the node.
func (r *Resolv) processes(e decoder.Event) []string {
	proc := netns.Proc(r.root)
	l := r.looks[e.Netns]
	if time.Since(l.walked) < retryEvery {
		return nil
	}
	l.walked = time.Now()
	r.looks[e.Netns] = l
	var own, all []string
	for dir := range netns.Processes(proc) {
		if inode, err := netns.Inode(filepath.Join(dir, "ns/net")); err != nil || inode != e.Netns {
			continue
		}
		if !fromNode(proc, dir, e.Netns) {
			own = append(own, dir)
		} else {
			all = append(all, dir)
		}
		if len(own) >= maxReaders {
			break
		}
	}
	return append(own, all...)
}
