// SPDX-License-Identifier: Apache-2.0

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

// podNetns is a pod's network namespace, kept open so that its inode number is not reused while events can have it.
type podNetns struct {
	*netns.Handle
	ended        time.Time // when the pod's last container was gone; zero while one runs
	withoutAddrs time.Time // since when it has no address of the pod
}

const (
	gracePeriod    = 500 * time.Millisecond // how long a namespace is kept open after its addresses are removed
	gracePeriodMax = 10 * time.Second       // the same after its pod: a CNI plugin may leave the device in the namespace
	releaseEvery   = 10 * time.Millisecond  // how late the end of an address may be noticed
)

// shared reports whether a namespace belongs to no single pod: the node's, or the machine's, which is another if the node
// is itself in a network namespace, or ktrace in a pod.
func (w *Watcher) shared(inode uint32) bool {
	return inode == w.home.Inode || slices.Contains(w.machine, inode)
}

// wantsNetns reports whether the pod's namespace is not known yet: it is the sandbox's, whatever namespaces the pod's
// processes make.
func (w *Watcher) wantsNetns(p pod.Info) bool {
	s := w.netns[p.UID]
	return s == nil || !s.ended.IsZero()
}

// keepNetns opens the namespace of a pod's process and emits its addresses.
func (w *Watcher) keepNetns(uid string, p procfs.Process, inode uint32) {
	w.releaseEnded(0) // the last one that had the addresses may have lost them just now
	s, err := netns.Open(p.NamespacePath("net"))
	if err == nil && s.Inode != inode {
		_ = s.Close() // it has moved to another; the pod's next process will do
		err = fmt.Errorf("namespace %d", s.Inode)
	}
	if err != nil {
		w.emitPod(event.PodFact{UID: uid, Source: "cgroup", Netns: inode, At: w.began[uid]}) // the process has ended
		return
	}
	w.releaseNetns(uid)
	w.netns[uid] = &podNetns{Handle: s}
	if cookie, err := s.Cookie(); err == nil { // what is known by the inode number may be of one before
		w.emit(event.Fact{Identity: &event.NetnsIdentity{Inode: inode, ID: cookie}})
	}
	f := event.PodFact{UID: uid, Source: "netns", Netns: inode, At: w.began[uid]}
	f.Addrs = w.network(s)
	w.emitPod(f)
}

// network returns the addresses of a namespace, and emits its veths.
func (w *Watcher) network(s *netns.Handle) (addrs []netip.Addr) {
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
		if addrs := w.network(s.Handle); len(addrs) > 0 {
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

// starting reports whether a process is still the runtime's, before it joins the container's namespaces.
func starting(p procfs.Process) bool {
	comm := p.Comm()
	return strings.HasPrefix(comm, "runc") || strings.HasPrefix(comm, "crun")
}

// releaseEnded closes the namespaces of pods that ended, at most once in the time given. A namespace outlives the last
// container: the kernel answers for its addresses until the CNI plugin removes the device, which takes seconds on a busy
// node. Then others may get the addresses and, once it is closed, the inode number.
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
