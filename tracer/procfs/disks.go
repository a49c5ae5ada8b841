// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"path/filepath"
	"strings"
	"time"
)

// Disk is what a block device has done since the node started.
type Disk struct {
	Written uint64        // bytes
	Busy    time.Duration // in which it had something to do
	IOs     uint64        // writes and flushes
	Waited  time.Duration // of these together, from the queue to the end
}

// diskFile bounds /proc/diskstats: a line has some 200 bytes, and a node may have thousands of volumes.
const diskFile = 4 << 20

// Disks reads /proc/diskstats, by major:minor (Documentation/admin-guide/iostats.rst). What cannot be read is empty.
func (s *FS) Disks() map[string]Disk {
	const (
		writes         = 7
		sectorsWritten = 9
		msWriting      = 10
		msBusy         = 12
		flushes        = 18 // kernel 5.5
		msFlushing     = 19
		sector         = 512 // whatever the disk's own
	)
	text, _ := readAll(filepath.Join(s.dir, "diskstats"), diskFile) // the lines that were read
	all := map[string]Disk{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) <= msBusy {
			continue
		}
		d := Disk{
			Written: number(fields[sectorsWritten]) * sector,
			Busy:    milliseconds(fields[msBusy]),
			IOs:     number(fields[writes]),
			Waited:  milliseconds(fields[msWriting]),
		}
		if len(fields) > msFlushing {
			d.IOs += number(fields[flushes])
			d.Waited += milliseconds(fields[msFlushing])
		}
		all[fields[0]+":"+fields[1]] = d
	}
	return all
}

func milliseconds(text string) time.Duration { return time.Duration(number(text)) * time.Millisecond }

// CPUWait is how long, since the node started, some task could run and had no CPU, by /proc/pressure/cpu (kernel 4.20,
// Documentation/accounting/psi.rst); 0 where the kernel keeps no such account.
func (s *FS) CPUWait() time.Duration {
	text, err := readAll(filepath.Join(s.dir, "pressure/cpu"), firstLines)
	if err != nil {
		return 0
	}
	for _, field := range strings.Fields(string(text)) { // "some avg10=0.00 ... total=7\nfull ..."
		if total, ok := strings.CutPrefix(field, "total="); ok {
			return time.Duration(number(total)) * time.Microsecond
		}
	}
	return 0
}
