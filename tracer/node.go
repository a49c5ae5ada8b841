package tracer

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ktrace/decoder"
	"ktrace/tracer/netns"
)

// nodeFact is who and when: the first fact of every stream.
func nodeFact() (*decoder.Node, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	home, err := netns.Inode("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	reasons, err := dropReasons()
	if err != nil {
		return nil, err
	}
	name := os.Getenv("NODE_NAME") // how a pod is told its node's name: metadata of the downward API
	if name == "" {
		name = unix.ByteSliceToString(uts.Nodename[:])
	}
	return &decoder.Node{
		Name:    name,
		Kernel:  unix.ByteSliceToString(uts.Release[:]),
		Netns:   home,
		Wall:    time.Duration(time.Now().UnixNano()) - sinceBoot(),
		Reasons: reasons,
	}, nil
}

// dropReasons reads the names from the running kernel: the numbers are no ABI and have shifted between, and within,
// stable series. Kernels before 5.17 have none. Subsystems have their own enums since 6.4 (commit 071c0fc6fb91,
// "net: extend drop reasons for multiple subsystems"), told apart by the upper 16 bits.
func dropReasons() (map[uint32]string, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("this kernel's BTF: %w", err)
	}
	reasons := map[uint32]string{}
	for _, e := range []struct{ name, prefix string }{
		{"skb_drop_reason", "SKB_DROP_REASON_"},
		{"mac80211_drop_reason", ""},
		{"ovs_drop_reason", ""},
	} {
		var enum *btf.Enum
		switch err := spec.TypeByName(e.name, &enum); {
		case errors.Is(err, btf.ErrNotFound):
			continue
		case err != nil:
			return nil, fmt.Errorf("enum %s: %w", e.name, err)
		}
		for _, v := range enum.Values {
			reasons[uint32(v.Value)] = strings.TrimPrefix(v.Name, e.prefix)
		}
	}
	return reasons, nil
}
