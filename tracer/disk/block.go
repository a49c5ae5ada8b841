// Package disk reads what slows a sync down beside the disk itself: who else writes to it, and what control groups allow.
package disk

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
	ios     uint64        // writes and flushes
	waited  time.Duration // of these together, from the queue to the end
}

// readDisks reads /proc/diskstats, by major:minor (Documentation/admin-guide/iostats.rst). What cannot be read is empty.
func readDisks(root string) map[string]diskStat {
	f, err := os.Open(filepath.Join(root, "proc/diskstats"))
	if err != nil {
		return nil
	}
	defer f.Close()
	const (
		writes         = 7
		sectorsWritten = 9
		msWriting      = 10
		msBusy         = 12
		flushes        = 18 // kernel 5.5
		msFlushing     = 19
		sector         = 512 // whatever the disk's own
	)
	all := map[string]diskStat{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > msBusy {
			d := diskStat{
				written: number(fields[sectorsWritten]) * sector,
				busy:    time.Duration(number(fields[msBusy])) * time.Millisecond,
				ios:     number(fields[writes]),
				waited:  time.Duration(number(fields[msWriting])) * time.Millisecond,
			}
			if len(fields) > msFlushing {
				d.ios += number(fields[flushes])
				d.waited += time.Duration(number(fields[msFlushing])) * time.Millisecond
			}
			all[fields[0]+":"+fields[1]] = d
		}
	}
	return all
}

// readCPUWait is how long, since the node started, some task could run and had no CPU, by /proc/pressure/cpu (kernel 4.20,
// Documentation/accounting/psi.rst); 0 where the kernel keeps no such account.
func readCPUWait(root string) time.Duration {
	for _, field := range fieldsOf(filepath.Join(root, "proc/pressure/cpu")) { // "some avg10=0.00 ... total=7\nfull ..."
		if total, ok := strings.CutPrefix(field, "total="); ok {
			return time.Duration(number(total)) * time.Microsecond
		}
	}
	return 0
}
