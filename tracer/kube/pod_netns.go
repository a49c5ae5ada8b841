package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
	"ktrace/tracer/boot"
	"ktrace/tracer/netns"
	"ktrace/tracer/procfs"
)

// held is a pod's network namespace, kept open so that its number stays the pod's as long as events can have it.
type podNetns struct {
	*netns.Space
	ended        time.Time // when the pod's last container was gone; zero while one runs
	withoutAddrs time.Time // when it had no address of the pod any more
}

const (
	gracePeriod    = 500 * time.Millisecond // how long a namespace is kept open after its addresses
	gracePeriodMax = 10 * time.Second       // how long after its pod: a plugin may leave the device to the namespace's end
	releaseEvery   = 10 * time.Millisecond  // how late the end of an address may be noticed
)

// shared reports whether a namespace is nobody's own: the node's, and the machine's where that is not the same, as in a
// node within a namespace or for a ktrace within a pod.
func (w *Watcher) shared(inode uint32) bool {
	return inode == w.home.Inode || slices.Contains(w.machine, inode)
}

// wantsNetns reports whether the pod's namespace is to be found: a pod keeps the one that its sandbox has, whatever
// namespaces its processes make for themselves.
func (w *Watcher) wantsNetns(p pod.Info) bool {
	s := w.netns[p.UID]
	return s == nil || !s.ended.IsZero()
}

// hold opens the namespace of a process of a pod and tells what is in it.
func (w *Watcher) keepNetns(uid string, p procfs.Process, inode uint32) {
	w.releaseEnded(0) // the last one that had the addresses may have lost them just now
	s, err := netns.Open(p.NamespacePath("net"))
	if err == nil && s.Inode != inode {
		_ = s.Close() // it has moved on; the next one will be as good
		err = fmt.Errorf("namespace %d", s.Inode)
	}
	if err != nil {
		w.emitPod(event.PodFact{UID: uid, Source: "cgroup", Netns: inode, At: w.began[uid]}) // the process was too short
		return
	}
	w.releaseNetns(uid)
	w.netns[uid] = &podNetns{Space: s}
	f := event.PodFact{UID: uid, Source: "netns", Netns: inode, At: w.began[uid]}
	f.Addrs = w.network(s)
	w.emitPod(f)
}

// network returns the addresses of a namespace, and tells of its veths.
func (w *Watcher) network(s *netns.Space) (addrs []netip.Addr) {
	devices, err := s.Devices(w.home)
	if err != nil {
		return nil // it ended; without CAP_SYS_ADMIN there are no addresses
	}
	for _, d := range devices {
		if d.PeerNetns != 0 {
			w.emit(event.Fact{Device: &d})
		}
		for _, a := range d.Addrs {
			if !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() {
				addrs = append(addrs, a.Addr())
			}
		}
	}
	return addrs
}

func (w *Watcher) completeNetwork(p pod.Info) {
	if s := w.netns[p.UID]; s != nil && s.ended.IsZero() && len(p.Addrs) == 0 {
		if addrs := w.network(s.Space); len(addrs) > 0 {
			w.emitPod(event.PodFact{UID: p.UID, Source: "netns", Addrs: addrs, At: w.began[p.UID]})
		}
	}
	if p.HostNetwork || !w.wantsNetns(p) {
		return
	}
	for _, c := range p.Containers {
		for _, pid := range w.processes(w.paths[c.ID]) {
			process := w.node.Process(pid)
			if c.Gone || starting(process) {
				continue
			}
			inode, err := process.Namespace("net")
			switch {
			case err != nil:
				continue // it is gone
			case w.shared(inode):
				w.emitPod(event.PodFact{UID: p.UID, Source: "netns", HostNetwork: true})
			default:
				w.keepNetns(p.UID, process, inode)
			}
			return
		}
	}
}

// starting reports whether a process is the runtime's, which has yet to join the container's namespaces.
func starting(p procfs.Process) bool {
	comm := p.Comm()
	return strings.HasPrefix(comm, "runc") || strings.HasPrefix(comm, "crun")
}

// release looks after pods that ended, unless it did so just now. The namespace outlives the last container: the kernel
// answers for its addresses until the network plugin takes the device away, which takes seconds on a busy node. Then they
// are nobody's, and soon the number may be another's.
func (w *Watcher) releaseEnded(every time.Duration) {
	now := time.Now()
	if w.ending == 0 || now.Sub(w.released) < every {
		return
	}
	w.released = now
	for uid, s := range w.netns {
		if s.ended.IsZero() {
			continue
		}
		p, _ := w.index.Pod(uid)
		if s.withoutAddrs.IsZero() && !s.answers(p.Addrs) {
			s.withoutAddrs = now
			if len(p.Addrs) > 0 {
				w.emitPod(event.PodFact{UID: uid, Source: "netns", Addrs: p.Addrs, Gone: true, At: boot.Now()})
			}
		}
		if !s.withoutAddrs.IsZero() && now.Sub(s.withoutAddrs) >= gracePeriod || now.Sub(s.ended) >= gracePeriodMax {
			w.releaseNetns(uid)
		}
	}
}

// answers reports whether the namespace still has one of the addresses.
func (s *podNetns) answers(addrs []netip.Addr) bool {
	devices, err := s.Devices()
	return err == nil && slices.ContainsFunc(devices, func(d event.Device) bool {
		return slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return slices.Contains(addrs, p.Addr()) })
	})
}

func (w *Watcher) releaseNetns(uid string) {
	s := w.netns[uid]
	if s == nil {
		return
	}
	delete(w.netns, uid)
	if !s.ended.IsZero() {
		w.ending--
	}
	p, _ := w.index.Pod(uid)
	w.emitPod(event.PodFact{UID: uid, Source: "netns", Netns: s.Inode, Addrs: p.Addrs, Gone: true, At: boot.Now()})
	_ = s.Close() // a descriptor that was only held
}
