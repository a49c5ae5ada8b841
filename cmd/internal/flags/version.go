// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// stamped is set by the linker (Makefile), "" where ktrace is built without make.
var stamped string

// Build is the version of this ktrace: what the build was given, or what go build found of the repository; "" of a test.
func Build() string {
	info, ok := debug.ReadBuildInfo()
	if stamped != "" || !ok || info.Main.Version == "(devel)" {
		return stamped
	}
	return info.Main.Version
}

// Version is what "ktrace version" prints: the version, and what it was built with and for.
func Version() string {
	return cmp.Or(Build(), "unknown") + " (" + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
