package tracer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"ktrace/decoder"
	"ktrace/tracer/netns"
)

// Resolv is the decoder.Witness that reads the resolv.conf of those who ask. What kubelet writes there names the
// cluster's DNS service, so that it is known without the API.
type Resolv struct {
	root  string
	asked map[uint32]time.Time // by namespace: when it was last looked at
	told  map[uint32]decoder.ResolvConf
}

// NewResolv returns the witness; root is where the node's file system is.
func NewResolv(root string) *Resolv {
	return &Resolv{root: root, asked: map[uint32]time.Time{}, told: map[uint32]decoder.ResolvConf{}}
}

const (
	maxResolv   = 64 << 10         // bytes that are read of a resolv.conf: it belongs to the container
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
	}
	r.asked[e.Netns] = time.Now()
	file := r.open(e)
	if file == nil {
		return nil
	}
	defer file.Close()
	conf := decoder.ParseResolv(io.LimitReader(file, maxResolv))
	conf.Netns = e.Netns
	if reflect.DeepEqual(conf, r.told[e.Netns]) {
		return nil
	}
	r.told[e.Netns] = conf
	facts := []decoder.Fact{{Resolv: &conf}}
	if !conf.Cluster() {
		return facts
	}
	return append(facts, decoder.Fact{Service: &decoder.ServiceFact{
		Source: "resolv", Netns: e.Netns, Addrs: conf.Nameservers,
		Ports: []decoder.ServicePort{{Name: "dns", Proto: "udp", Port: 53}, {Name: "dns-tcp", Proto: "tcp", Port: 53}},
	}})
}

// open opens the file of the sender or, if that has ended, of any process in its namespace; nil if there is none.
func (r *Resolv) open(e decoder.Event) *os.File {
	const conf = "root/etc/resolv.conf"
	proc := netns.Proc(r.root)
	if e.PID != 0 {
		if file, err := os.Open(filepath.Join(proc, fmt.Sprint(e.PID), conf)); err == nil {
			return file
		}
	}
	for dir := range netns.Processes(proc) {
		if inode, err := netns.Inode(filepath.Join(dir, "ns/net")); err != nil || inode != e.Netns {
			continue
		}
		if file, err := os.Open(filepath.Join(dir, conf)); err == nil {
			return file
		}
	}
	return nil
}
