// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"slices"
	"strings"
)

// UnknownNameError is returned for a name of a probe, hook, variant or variable that does not exist.
type UnknownNameError struct {
	Kind  string // "probe", "hook", "variant" or "variable"
	Name  string
	Known []string // the names that exist, sorted
}

// Error implements error.
func (e UnknownNameError) Error() string {
	return fmt.Sprintf("no %s is named %q; there are %s", e.Kind, e.Name, strings.Join(e.Known, ", "))
}

// CheckName returns an UnknownNameError unless the name is known.
func CheckName(kind, name string, known []string) error {
	if slices.Contains(known, name) {
		return nil
	}
	known = slices.Clone(known)
	slices.Sort(known)
	return UnknownNameError{Kind: kind, Name: name, Known: slices.Compact(known)}
}
