package netns

import (
	"iter"
	"os"
	"path/filepath"
)

// Proc is where the processes of the node are found whose file system is at hostRoot: below it or, where that was mounted
// without what is mounted below it, where they always are.
func Proc(hostRoot string) string {
	proc := filepath.Join(hostRoot, "proc")
	if _, err := os.Stat(filepath.Join(proc, "1")); err != nil {
		return "/proc"
	}
	return proc
}

// Processes yields the directories of all processes below a mount of proc. It is as cheap as it gets: to list what a
// process's directory holds has the kernel make each file of it.
func Processes(proc string) iter.Seq[string] {
	return func(yield func(string) bool) {
		dir, err := os.Open(proc)
		if err != nil {
			return
		}
		defer dir.Close()
		names, _ := dir.Readdirnames(-1) // those that it has read
		for _, name := range names {
			if name[0] >= '1' && name[0] <= '9' && !yield(filepath.Join(proc, name)) {
				return
			}
		}
	}
}

// Paths yields what stands for the network namespaces of the node whose file system is at hostRoot: first the files that
// hold one open, then those of the processes. More than one may stand for the same.
func Paths(hostRoot string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, held := range []string{"run/netns/*", "run/docker/netns/*"} {
			names, _ := filepath.Glob(filepath.Join(hostRoot, held)) // the pattern is well formed
			for _, name := range names {
				if !yield(name) {
					return
				}
			}
		}
		for process := range Processes(Proc(hostRoot)) {
			if !yield(filepath.Join(process, "ns/net")) {
				return
			}
		}
	}
}
