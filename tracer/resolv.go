package tracer

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
	asked map[uint32]time.Time // by namespace: when it was last looked at
	told  map[uint32]decoder.ResolvConf
	env   map[uint32][]decoder.ServiceFact
}

// NewResolv returns the witness; root is where the node's file system is.
func NewResolv(root string) *Resolv {
	return &Resolv{root: root, asked: map[uint32]time.Time{}, told: map[uint32]decoder.ResolvConf{}, env: map[uint32][]decoder.ServiceFact{}}
}

const (
	maxResolv   = 64 << 10         // bytes that are read of a resolv.conf: it belongs to the container
	maxEnviron  = 256 << 10        // bytes that are read of an environment, which does, too
	maxReaders  = 8                // processes of a namespace that are looked at: the first may be one that holds it open
	resolvEvery = 30 * time.Second // looking for it again: it may have been mended, and namespaces' numbers are used again
	maxResolvs  = 4096             // namespaces remembered
)

// About implements decoder.Witness: it looks for every namespace that sends a packet, and tells what is new.
func (r *Resolv) About(e decoder.Event) []decoder.Fact {
	if _, ok := e.Body.(decoder.Hop); !ok || e.Direction != decoder.Out || time.Since(r.asked[e.Netns]) < resolvEvery {
		return nil
	}
	if len(r.asked) >= maxResolvs {
		clear(r.asked)
		clear(r.told)
		clear(r.env)
	}
	r.asked[e.Netns] = time.Now()
	var facts []decoder.Fact
	processes := r.processes(e)
	for _, dir := range processes {
		if file, err := os.Open(filepath.Join(dir, "root/etc/resolv.conf")); err == nil {
			facts = r.resolv(file, e.Netns)
			file.Close()
			break
		}
	}
	for _, dir := range processes {
		if services := environ(dir, e.Netns); len(services) > 0 {
			return append(facts, r.services(services, e.Netns)...)
		}
	}
	return facts
}

// resolv tells what a resolv.conf says, if that is new.
func (r *Resolv) resolv(file io.Reader, netns uint32) []decoder.Fact {
	conf := decoder.ParseResolv(io.LimitReader(file, maxResolv))
	conf.Netns = netns
	if reflect.DeepEqual(conf, r.told[netns]) {
		return nil
	}
	r.told[netns] = conf
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

// services tells those that an environment names, and which it does no more, if that is new.
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

// processes are the directories of the sender or, if that is not known or has ended, of some in its namespace.
func (r *Resolv) processes(e decoder.Event) []string {
	proc := netns.Proc(r.root)
	if e.PID != 0 {
		dir := filepath.Join(proc, fmt.Sprint(e.PID))
		if _, err := os.Stat(filepath.Join(dir, "root/etc/resolv.conf")); err == nil {
			return []string{dir}
		}
	}
	var all []string
	for dir := range netns.Processes(proc) {
		if inode, err := netns.Inode(filepath.Join(dir, "ns/net")); err != nil || inode != e.Netns {
			continue
		}
		if all = append(all, dir); len(all) >= maxReaders {
			break
		}
	}
	return all
}
