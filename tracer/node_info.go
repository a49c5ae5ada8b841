// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/boot"
	"ktrace/tracer/netns"
)

// NodeName is the node's name: $NODE_NAME, which a pod sets by the downward API (spec.nodeName), else the host name.
func NodeName() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return nodeName(uts), nil
}

func nodeName(uts unix.Utsname) string {
	return cmp.Or(os.Getenv("NODE_NAME"), unix.ByteSliceToString(uts.Nodename[:]))
}

// nodeFact is the first fact of every stream: node, boot, clock, and the kernel's names of reasons.
func nodeFact(kernel *btf.Spec) (*event.Node, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	home, err := netns.Inode("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	drops, resets, err := reasonNames(kernel)
	if err != nil {
		return nil, err
	}
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // if it cannot be read, boots differ by their time
	return &event.Node{
		Boot:    strings.TrimSpace(string(id)),
		Name:    nodeName(uts),
		Kernel:  unix.ByteSliceToString(uts.Release[:]),
		Netns:   home,
		Wall:    time.Duration(time.Now().UnixNano()) - boot.Now(),
		Reasons: drops,
		Resets:  resets,
	}, nil
}

// enumNames reads the names of an enum's values from the running kernel: the numbers of reasons are no ABI and have
// shifted between, and within, stable series. A kernel without the enum has no names.
func enumNames(kernel *btf.Spec, names map[uint32]string, enum, prefix string) error {
	var e *btf.Enum
	switch err := kernel.TypeByName(enum, &e); {
	case errors.Is(err, btf.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("enum %s: %w", enum, err)
	}
	for _, v := range e.Values {
		names[uint32(v.Value)] = strings.TrimPrefix(v.Name, prefix)
	}
	return nil
}

// reasonNames reads why packets are dropped and why resets are sent. Kernels before 5.17 give no reasons for drops,
// those before 6.10 none for resets. Subsystems have drop reasons of their own since 6.4 (commit 071c0fc6fb91, "net:
// extend drop reasons for multiple subsystems"), distinguished by the upper 16 bits.
func reasonNames(kernel *btf.Spec) (drops, resets map[uint32]string, err error) {
	drops, resets = map[uint32]string{}, map[uint32]string{}
	for _, e := range []struct {
		names        map[uint32]string
		enum, prefix string
	}{
		{drops, "skb_drop_reason", "SKB_DROP_REASON_"},
		{drops, "mac80211_drop_reason", ""},
		{drops, "ovs_drop_reason", ""},
		{resets, "sk_rst_reason", "SK_RST_REASON_"},
	} {
		if err := enumNames(kernel, e.names, e.enum, e.prefix); err != nil {
			return nil, nil, err
		}
	}
	return drops, resets, nil
}
