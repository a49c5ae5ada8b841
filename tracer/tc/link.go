// SPDX-License-Identifier: Apache-2.0

package tc

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// links are programs attached by BPF links: the kernel keeps their order, and removes them with this process.
type links struct {
	mode    string
	ifindex int
	slots   []*slot
}

// slot is one direction.
type slot struct {
	program *ebpf.Program
	at      ebpf.AttachType
	link    link.Link
}

// attachTCX needs kernel 6.6 (commit e420bed02507, "bpf: Add fd-based tcx multi-prog infra with link support").
func attachTCX(o Options) (mode, error) {
	return attachLinks(&links{mode: TCX, ifindex: o.Ifindex, slots: slots(o, ebpf.AttachTCXIngress, ebpf.AttachTCXEgress)})
}

// attachNetkit needs kernel 6.7 (commit 35dfaad7188c, "netkit, bpf: Add bpf programmable net device") and the primary
// device of a pair. Both hooks are where packets leave a device of the pair: what the peer sends we receive.
func attachNetkit(o Options) (mode, error) {
	return attachLinks(&links{mode: Netkit, ifindex: o.Ifindex, slots: slots(o, ebpf.AttachNetkitPeer, ebpf.AttachNetkitPrimary)})
}

func slots(o Options, ingress, egress ebpf.AttachType) []*slot {
	all := []*slot{{program: o.Ingress, at: ingress}, {program: o.Egress, at: egress}}
	return slices.DeleteFunc(all, func(s *slot) bool { return s.program == nil })
}

func attachLinks(l *links) (mode, error) {
	if _, err := l.ensure(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *links) name() string { return l.mode }

func (l *links) ensure() (again bool, err error) {
	for _, s := range l.slots {
		there, err := s.there()
		if there && err == nil {
			there, err = s.first(l.ifindex)
		}
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		again = again || s.link != nil
		if err := s.close(); err != nil { // the kernel attaches a program once, so it is detached before it is attached first
			return false, err
		}
		if s.link, err = l.attach(s); err != nil {
			return false, err
		}
	}
	return again, nil
}

func (l *links) attach(s *slot) (link.Link, error) {
	if l.mode == Netkit {
		return link.AttachNetkit(link.NetkitOptions{Interface: l.ifindex, Program: s.program, Attach: s.at, Anchor: link.Head()})
	}
	return link.AttachTCX(link.TCXOptions{Interface: l.ifindex, Program: s.program, Attach: s.at, Anchor: link.Head()})
}

// first reports whether ours is the first program, but for those of another ktrace, which pass every packet on: one that
// was attached before it may drop or accept packets before ours sees them.
func (s *slot) first(ifindex int) (bool, error) {
	info, err := s.link.Info()
	if err != nil {
		return false, fmt.Errorf("link: %w", err)
	}
	row, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: s.at})
	if err != nil {
		return false, fmt.Errorf("list programs: %w", err)
	}
	for _, p := range row.Programs {
		if id, _ := p.LinkID(); id == info.ID {
			return true, nil
		}
		if !s.namesake(p.ID) {
			return false, nil
		}
	}
	return true, nil // the device has gone meanwhile
}

// namesake reports whether a program has our program's name.
func (s *slot) namesake(id ebpf.ProgramID) bool {
	other, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return false // gone, or not ours to read
	}
	defer other.Close()
	theirs, err := other.Info()
	if err != nil {
		return false
	}
	ours, err := s.program.Info()
	return err == nil && ours.Name != "" && ours.Name == theirs.Name
}

// there reports whether the link still has its device: one that was detached by force, or whose device is gone, has
// ifindex 0.
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
