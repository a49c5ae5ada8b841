// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"ktrace/cmd/internal/flags"
	"ktrace/decoder/pod"
	"ktrace/tracer/kube"
	"ktrace/tracer/netns"
	"ktrace/tracer/procfs"
)

// places are the namespace and the process that the flags name, of this machine.
func places(f flags.Flags) ([]pod.Place, error) {
	var all []pod.Place
	if f.Netns != "" {
		place, err := netnsPlace(NetnsPath(f))
		if errors.Is(err, os.ErrNotExist) {
			return nil, flags.Usagef("--netns %s: there is none; want a path, or a name that \"ip netns\" lists", f.Netns)
		}
		if errors.Is(err, netns.ErrNone) {
			return nil, flags.Usagef("--netns %v; want a path as in /proc/PID/ns/net, or a name that \"ip netns\" lists", err)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, place)
	}
	if f.PID != 0 {
		place, err := kube.PlaceOf(procfs.New(f.HostRoot), f.PID)
		if errors.Is(err, os.ErrNotExist) {
			return nil, flags.Usagef("--pid %d: there is no such process", f.PID)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, place)
	}
	return all, nil
}

// netnsPlace is a namespace with the addresses that are its own alone.
func netnsPlace(path string) (pod.Place, error) {
	handle, err := netns.Open(path)
	if err != nil {
		return pod.Place{}, err
	}
	defer handle.Close()
	place := pod.Place{Netns: handle.Inode}
	devices, err := handle.Devices()
	if err != nil {
		return place, err
	}
	for _, d := range devices {
		for _, a := range d.Addrs {
			if !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() {
				place.Addrs = append(place.Addrs, a.Addr())
			}
		}
	}
	return place, nil
}

// NetnsPath is where the network namespace is that the flags name.
func NetnsPath(f flags.Flags) string {
	if strings.Contains(f.Netns, "/") {
		return f.Netns
	}
	return filepath.Join(cmp.Or(f.HostRoot, "/"), "run/netns", f.Netns) // to read a file there is no --host-root
}
