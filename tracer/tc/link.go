package tc

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// links are programs attached by BPF links: the kernel keeps them in order and apart from everybody else's, and drops
// them with this process.
type links struct {
	way   string
	slots []*slot
}

// slot is one direction.
type slot struct {
	attach func() (link.Link, error)
	link   link.Link
}

// attachTCX needs kernel 6.6 (commit e420bed02507, "bpf: Add fd-based tcx multi-prog infra with link support").
func attachTCX(o Options) (way, error) {
	return attachLinks(TCX, o, func(p *ebpf.Program, ingress bool) (link.Link, error) {
		at := ebpf.AttachTCXEgress
		if ingress {
			at = ebpf.AttachTCXIngress
		}
		return link.AttachTCX(link.TCXOptions{Interface: o.Ifindex, Program: p, Attach: at, Anchor: link.Head()})
	})
}

// attachNetkit needs kernel 6.7 (commit 35dfaad7188c, "netkit, bpf: Add bpf programmable net device") and the primary
// device of a pair. Both hooks are where packets leave a device of the pair: what the peer sends we receive.
func attachNetkit(o Options) (way, error) {
	return attachLinks(Netkit, o, func(p *ebpf.Program, ingress bool) (link.Link, error) {
		at := ebpf.AttachNetkitPrimary
		if ingress {
			at = ebpf.AttachNetkitPeer
		}
		return link.AttachNetkit(link.NetkitOptions{Interface: o.Ifindex, Program: p, Attach: at, Anchor: link.Head()})
	})
}

func attachLinks(name string, o Options, attach func(p *ebpf.Program, ingress bool) (link.Link, error)) (way, error) {
	l := &links{way: name}
	for i, p := range []*ebpf.Program{o.Ingress, o.Egress} {
		if p != nil {
			l.slots = append(l.slots, &slot{attach: func() (link.Link, error) { return attach(p, i == 0) }})
		}
	}
	if err := l.ensure(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *links) name() string { return l.way }

func (l *links) ensure() error {
	for _, s := range l.slots {
		there, err := s.there()
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if err := s.close(); err != nil {
			return err
		}
		if s.link, err = s.attach(); err != nil {
			return err
		}
	}
	return nil
}

// there tells whether the link still has its device: one that was detached by force, or whose device is gone, names
// device 0.
func (s *slot) there() (bool, error) {
	if s.link == nil {
		return false, nil
	}
	info, err := s.link.Info()
	if err != nil {
		return false, fmt.Errorf("link: %w", err)
	}
	if tcx := info.TCX(); tcx != nil {
		return tcx.Ifindex != 0, nil
	}
	netkit := info.Netkit()
	return netkit != nil && netkit.Ifindex != 0, nil
}

func (s *slot) close() error {
	if s.link == nil {
		return nil
	}
	err := s.link.Close()
	s.link = nil
	return err
}

func (l *links) close() error {
	var errs []error
	for _, s := range l.slots {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
