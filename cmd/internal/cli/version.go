package cli

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// version is what go build was told, or found out, of this ktrace; "" of a test.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Version
}

// Version is what users are told of this ktrace: its version, and what it was built with and for.
func Version() string {
	return cmp.Or(version(), "unknown") + " (" + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
