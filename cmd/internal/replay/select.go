// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"ktrace/cmd/internal/flags"
	"ktrace/decoder/pod"
)

// Selector is what the flags select.
func Selector(f flags.Flags) (pod.Selector, error) {
	places, err := places(f)
	if err != nil {
		return pod.Selector{}, err
	}
	s, err := pod.NewSelector(f.Pods, f.Namespace, f.Container, f.Labels, places...)
	if err != nil {
		return s, flags.Usagef("%v", err)
	}
	return s, nil
}
