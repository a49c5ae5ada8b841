// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package replay

import (
	"ktrace/cmd/internal/flags"
	"ktrace/decoder/pod"
)

// places are those that the flags name: there are none on this system.
func places(f flags.Flags) ([]pod.Place, error) {
	if f.Netns != "" {
		return nil, flags.Usagef("--netns %s: this system has no network namespaces; select by --pod, or by an expression", f.Netns)
	}
	return nil, nil
}
