// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"ktrace/decoder/pod"
)

// SelectionMaps are the names of the maps with the selection; all objects share them.
func SelectionMaps() []string { return []string{"sel_cgroups", "sel_netns", "sel_addrs"} }

// filter writes the selection maps.
type filter struct {
	cgroups, netns, addrs *ebpf.Map
	now                   pod.Sets
}

// Filter has the watcher keep the selection maps. find returns a map of the cgroup object.
func (w *Watcher) Filter(find func(name string) *ebpf.Map) {
	if w.opts.Selector.All() {
		return
	}
	m := SelectionMaps()
	w.filter = &filter{cgroups: find(m[0]), netns: find(m[1]), addrs: find(m[2])}
}

// sync writes the sets into the maps. It goes on after errors: a full map must not lose the rest.
func (f *filter) sync(want pod.Sets) error {
	err := errors.Join(
		apply(f.cgroups, f.now.Cgroups, want.Cgroups, func(id uint64) any { return id }),
		apply(f.netns, f.now.Netns, want.Netns, func(inode uint32) any { return inode }),
		apply(f.addrs, f.now.Addrs, want.Addrs, func(a netip.Addr) any { return a.As16() }),
	)
	f.now = want
	return err
}

func apply[K comparable](m *ebpf.Map, have, want map[K]bool, key func(K) any) error {
	var errs []error
	for k := range want {
		if !have[k] {
			errs = append(errs, m.Put(key(k), uint8(1)))
		}
	}
	for k := range have {
		if !want[k] {
			if err := m.Delete(key(k)); !errors.Is(err, ebpf.ErrKeyNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("selecting in the kernel: %w", err)
	}
	return nil
}
