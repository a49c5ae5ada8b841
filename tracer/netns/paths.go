package netns

import (
	"iter"
	"os"
	"path/filepath"
)

// Processes yields the directories of the processes below a mount of proc, in no order. It is as cheap as it gets: to
// list what a process's directory holds has the kernel make each file of it.
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

// Paths yields what stands for network namespaces: that of each process below a mount of proc, and all that directories
// hold, first. More than one may stand for the same.
func Paths(proc string, dirs ...string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, dir := range dirs {
			names, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is well formed
			for _, name := range names {
				if !yield(name) {
					return
				}
			}
		}
		for process := range Processes(proc) {
			if !yield(filepath.Join(process, "ns/net")) {
				return
			}
		}
	}
}
