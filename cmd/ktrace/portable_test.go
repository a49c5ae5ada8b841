// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"ktrace/cmd/internal/replay"
)

// TestReadHasTheViewsOfAllVerbs: a verb that shows events of a live node shows them of a file.
func TestReadHasTheViewsOfAllVerbs(t *testing.T) {
	var views []string
	for _, v := range recordedViews() {
		views = append(views, v.name)
	}
	for _, c := range liveVerbs(replay.Streams{}) {
		ofNode := slices.Contains([]string{"doctor", "pods", "capture", "extcap"}, c.Name())
		if slices.Contains(views, c.Name()) == ofNode {
			t.Errorf("ktrace read FILE %s: there %v", c.Name(), !ofNode)
		}
	}
}

// TestReadNeedsNoLinux: macOS and Windows build "read" with all of its views, and nothing that knows a kernel.
func TestReadNeedsNoLinux(t *testing.T) {
	for _, target := range []string{"darwin/arm64", "windows/amd64"} {
		t.Run(target, func(t *testing.T) {
			files := goList(t, target, "-f", `{{join .GoFiles "\n"}}`, ".")
			for _, name := range []string{"main.go", "root.go", "read.go", "read_packets.go", "version.go", "verbs_other.go"} {
				if !slices.Contains(files, name) {
					t.Errorf("%s is not built", name)
				}
			}
			for _, name := range goList(t, target, "-deps", ".") {
				if strings.HasPrefix(name, "ktrace/tracer") || strings.HasPrefix(name, "ktrace/bpf") || name == "ktrace/cmd/internal/live" || strings.HasPrefix(name, "github.com/cilium/ebpf") {
					t.Errorf("imports %s", name)
				}
			}
		})
	}
}

// goList is the output of go list for a target, by line.
func goList(t *testing.T, target string, args ...string) []string {
	t.Helper()
	system, machine, _ := strings.Cut(target, "/")
	c := exec.Command("go", append([]string{"list"}, args...)...)
	c.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+machine, "CGO_ENABLED=0")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}
