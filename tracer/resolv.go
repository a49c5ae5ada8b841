package tracer

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"ktrace/decoder"
	"ktrace/tracer/netns"
)

// Resolv is the decoder.Witness that reads the resolv.conf of those who ask. What kubelet writes there names the
// cluster's DNS service, so that it is known without the API.
type Resolv struct {
	root  string
	asked map[uint32]bool // namespaces
}

// NewResolv returns the witness; root is where the node's file system is.
func NewResolv(root string) *Resolv { return &Resolv{root: root, asked: map[uint32]bool{}} }

// maxResolv bounds what is read of a resolv.conf, bytes: it belongs to the container.
const maxResolv = 64 << 10

// About implements decoder.Witness: it looks once for every namespace that sends a packet.
func (r *Resolv) About(e decoder.Event) []decoder.Fact {
	if _, ok := e.Body.(decoder.Hop); !ok || e.Direction != decoder.Out || r.asked[e.Netns] {
		return nil
	}
	r.asked[e.Netns] = true
	path := r.path(e)
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil // a container without one, or that has ended
	}
	defer file.Close()
	conf := ParseResolv(io.LimitReader(file, maxResolv))
	if !conf.Cluster() {
		return nil
	}
	return []decoder.Fact{{Service: &decoder.ServiceFact{
		Source: "resolv", Netns: e.Netns, Addrs: conf.Nameservers,
		Ports: []decoder.ServicePort{{Name: "dns", Proto: "udp", Port: 53}, {Name: "dns-tcp", Proto: "tcp", Port: 53}},
	}}}
}

// path is the file of the sender, or else of any process in its namespace, "" if there is none.
func (r *Resolv) path(e decoder.Event) string {
	const conf = "root/etc/resolv.conf"
	proc := filepath.Join(r.root, "proc")
	if e.PID != 0 {
		return filepath.Join(proc, fmt.Sprint(e.PID), conf)
	}
	all, _ := filepath.Glob(filepath.Join(proc, "[0-9]*")) // the pattern is well formed
	for _, dir := range all {
		if inode, err := netns.Inode(filepath.Join(dir, "ns/net")); err == nil && inode == e.Netns {
			return filepath.Join(dir, conf)
		}
	}
	return ""
}

// ResolvConf is what resolv.conf(5) says, as far as it is of use here.
type ResolvConf struct {
	Nameservers []netip.Addr
	Search      []string
}

// ParseResolv reads a resolv.conf. What it does not understand it passes over, as resolvers do.
func ParseResolv(r io.Reader) ResolvConf {
	var c ResolvConf
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(f[1]); err == nil {
				c.Nameservers = append(c.Nameservers, addr)
			}
		case "search":
			c.Search = f[1:] // the last one counts
		}
	}
	return c
}

// Cluster reports whether kubelet wrote it for a pod that asks the cluster's DNS: only then there is a search domain
// of services.
func (c ResolvConf) Cluster() bool {
	for _, s := range c.Search {
		if strings.HasPrefix(s, "svc.") || strings.Contains(s, ".svc.") {
			return true
		}
	}
	return false
}
