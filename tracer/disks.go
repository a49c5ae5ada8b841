package tracer

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxStacked is how many devices may lie below one.
const maxStacked = 32

// disksBelow are a device, as major:minor, and those below it: the disk of a partition, the parts of a mapped or
// assembled device. The last is one at the bottom. root is where the node's file system is.
func disksBelow(root, device string) []string {
	found := []string{device}
	for i := 0; i < len(found) && len(found) < maxStacked; i++ {
		dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/dev/block", found[i]))
		if err != nil {
			continue // no block device: btrfs numbers its subvolumes
		}
		below, _ := filepath.Glob(filepath.Join(dir, "slaves/*/dev")) // the pattern is well formed
		if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
			below = append(below, filepath.Join(filepath.Dir(dir), "dev"))
		}
		for _, file := range below {
			if text, err := os.ReadFile(file); err == nil {
				found = append(found, strings.TrimSpace(string(text)))
			}
		}
	}
	return found
}

// diskStat is what a disk has done since the node started.
type diskStat struct {
	written uint64        // bytes
	busy    time.Duration // in which it had something to do
}

// readDisks reads /proc/diskstats, by major:minor (Documentation/admin-guide/iostats.rst). What cannot be read is empty.
func readDisks(root string) map[string]diskStat {
	f, err := os.Open(filepath.Join(root, "proc/diskstats"))
	if err != nil {
		return nil
	}
	defer f.Close()
	const (
		sectorsWritten = 9
		msBusy         = 12
		sector         = 512 // whatever the disk's own
	)
	all := map[string]diskStat{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > msBusy {
			all[fields[0]+":"+fields[1]] = diskStat{
				written: number(fields[sectorsWritten]) * sector,
				busy:    time.Duration(number(fields[msBusy])) * time.Millisecond,
			}
		}
	}
	return all
}
