package decoder

import (
	"path"
	"strings"
	"time"

	"ktrace/decoder/fio"
)

// FsyncFact is what user space knows of the syncs: where they are looked for, and what the kernel half has counted.
// A fact may hold one part only.
type FsyncFact struct {
	Scope  *FsyncScope  `json:"scope,omitempty"`
	Counts *FsyncCounts `json:"counts,omitempty"`
}

// FsyncScope is what is watched. A later one takes the place of an earlier one.
type FsyncScope struct {
	Paths  []string      `json:"paths,omitempty"` // as asked for; empty: every file system with a disk below it
	Limit  time.Duration `json:"limit_ns"`        // that over_limit is counted against
	Strict bool          `json:"strict,omitempty"`
	Roots  []string      `json:"roots,omitempty"`  // directories, by the index that records refer to
	Mounts []FsyncMount  `json:"mounts,omitempty"` // file systems; names paths that were not matched by a root
	// Unwatched are mounts below the paths that appeared too late to be watched.
	Unwatched []string `json:"unwatched,omitempty"`
}

// FsyncMount is where a file system can be found.
type FsyncMount struct {
	Dev   uint32 `json:"dev"`
	Root  string `json:"root"`  // the part of the file system that is mounted
	Point string `json:"point"` // there
}

// FsyncCounts is the state of the kernel half at one moment.
type FsyncCounts struct {
	Histograms map[FsyncClass]fio.Histogram `json:"histograms,omitempty"`
	InFlight   []FsyncInFlight              `json:"in_flight,omitempty"`
	Books      Counts                       `json:"books"` // Seen = all in the histograms + in flight + Filtered + Lost.Map
}

// FsyncInFlight is a sync that has begun and not ended.
type FsyncInFlight struct {
	Begun  time.Duration `json:"begun_ns"` // since boot
	Age    time.Duration `json:"age_ns"`
	PID    uint32        `json:"pid"`
	TID    uint32        `json:"tid"`
	Comm   string        `json:"comm"`
	Cgroup uint64        `json:"cgroup"`
	Op     FsyncOp       `json:"op"`
	Class  FsyncClass    `json:"class"`
	Path   string        `json:"path"` // as the process sees it, "" if it is not known
}

// locate completes the path of a sync.
func (s FsyncScope) locate(f Fsync) string {
	if int(f.root) < len(s.Roots) {
		return path.Join(s.Roots[f.root], f.Path)
	}
	if name, ok := s.mounted(f); ok {
		return name
	}
	return path.Join("("+f.Device+")", f.Path)
}

// mounted looks for the mount that shows most directly what lies at a path of a file system.
func (s FsyncScope) mounted(f Fsync) (string, bool) {
	var best *FsyncMount
	inside := "/" + f.Path
	for i, m := range s.Mounts {
		if m.Dev != f.dev || !Below(inside, m.Root) {
			continue
		}
		if best == nil || len(m.Root) > len(best.Root) || len(m.Root) == len(best.Root) && len(m.Point) < len(best.Point) {
			best = &s.Mounts[i]
		}
	}
	if best == nil {
		return "", false
	}
	return path.Join(best.Point, strings.TrimPrefix(inside, best.Root)), true
}

// Below reports whether a clean absolute path is dir or lies below it.
func Below(name, dir string) bool {
	if dir == "/" || name == dir {
		return true
	}
	return strings.HasPrefix(name, dir+"/")
}
